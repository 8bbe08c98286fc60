"""A run that was cut off, by whatever, goes on as if nothing had happened."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import companion.training.loop as loop
from companion.training import TrainingConfig, train
from needs import fork_context, forks

Make = Callable[..., TrainingConfig]


def weights(config: TrainingConfig) -> dict[str, torch.Tensor]:
    return load_file(Path(config.output_dir) / "unet" / "diffusion_pytorch_model.safetensors")


def train_and_die(config: TrainingConfig, at: int) -> None:
    """A process of its own that kills itself at a micro-batch."""
    stock, seen = loop.diffusion_loss, 0

    def deadly(*arguments: Any) -> torch.Tensor:
        nonlocal seen
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return stock(*arguments)

    loop.diffusion_loss = deadly
    train(config)


def kill_at(config: TrainingConfig, at: int) -> None:
    child = fork_context().Process(target=train_and_die, args=(config, at))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL


@forks
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("at", [2, 7, 9])
def test_a_killed_run_goes_on_to_the_very_same_losses_and_weights(
    tiny: Make, tmp_path: Path, at: int, accumulation: int
) -> None:
    dropout = {**tiny().model, "dropout": 0.2}  # draws from torch's global generator
    whole = tiny(
        gradient_accumulation_steps=accumulation, model=dropout, output_dir=str(tmp_path / "whole")
    )
    cut = replace(whole, output_dir=str(tmp_path / "cut"))
    expected = train(whole)
    kill_at(cut, at)
    resumed = train(replace(cut, resume=True))
    assert resumed.losses == expected.losses
    assert resumed.learning_rates == expected.learning_rates
    first, second = weights(whole), weights(cut)
    assert all(torch.equal(first[name], second[name]) for name in first)


def losses_of(config: TrainingConfig) -> list[float]:
    return train(config).losses


@forks
def test_two_killed_processes_go_on_together_to_the_very_same_losses(
    tiny: Make, tmp_path: Path, in_two_processes: Callable[..., Any]
) -> None:
    # 22 pictures, two processes, batches of 4: the last batches are filled up from the beginning.
    whole = tiny(num_scenes=22, num_epochs=2, output_dir=str(tmp_path / "whole"))
    cut = replace(whole, output_dir=str(tmp_path / "cut"))
    expected, ends = in_two_processes(losses_of, whole)
    assert ends == [0, 0]
    assert in_two_processes(train_and_die, cut, 4) == (None, [-signal.SIGKILL] * 2)
    assert in_two_processes(losses_of, replace(cut, resume=True)) == (expected, [0, 0])
