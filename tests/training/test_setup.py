"""What belongs to the whole process is after a run as it was before, however it ends."""

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import companion.training.loop as loop
import companion.training.setup as setup
from companion.training import TrainingConfig, make_model, train

Make = Callable[..., TrainingConfig]


def state() -> list[Any]:
    """What a run could change for all of the process."""
    generators = torch.get_rng_state().tolist(), np.random.get_state()[1:], random.getstate()
    kernel, filters = F.scaled_dot_product_attention, list(warnings.filters)
    limit = torch._dynamo.config.recompile_limit
    return [repr(generators), kernel, filters, limit, torch.get_num_threads()]


def fails(*arguments: Any) -> torch.Tensor:
    raise KeyboardInterrupt


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Instead of compiling, which takes a minute: the limit that it would see."""
    seen: list[int] = []

    def compile_blocks(*arguments: Any) -> bool:
        seen.append(torch._dynamo.config.recompile_limit)
        return True

    monkeypatch.setattr(setup, "compile_blocks", compile_blocks)
    return seen


@pytest.mark.parametrize("ending", ["well", "by an error", "resumed"])
def test_the_process_is_as_before_a_run(
    tiny: Make, cut: Path, compiled: list[int], monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    dropout = {**tiny().model, "dropout": 0.0 if ending == "resumed" else 0.2}
    config = tiny(
        mixed_precision="no" if ending == "resumed" else "bf16",
        compile=True,
        model=dropout,
        resume=ending == "resumed",
        overwrite_output_dir=True,
    )
    before = state()
    if ending == "by an error":
        monkeypatch.setattr(loop, "diffusion_loss", fails)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    else:
        train(config)
    assert state() == before
    assert compiled == [128]


def test_making_a_model_leaves_the_generators_alone(tiny: Make) -> None:
    torch.manual_seed(7)
    before = state()
    first = make_model(tiny(seed=3))
    assert state() == before
    torch.manual_seed(8)
    again = make_model(tiny(seed=3))
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(weights, same) for weights, same in pairs)


def test_a_run_with_dropout_follows_from_the_seed(tiny: Make) -> None:
    config = tiny(model={**tiny().model, "dropout": 0.2}, overwrite_output_dir=True)
    torch.manual_seed(7)
    first = train(config)
    torch.manual_seed(8)
    assert train(config).losses == first.losses
