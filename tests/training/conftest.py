"""A run so small that it takes a second: 16x16 pixels, two blocks of eight channels."""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState

import companion.training.loop as loop
from companion.training import TrainingConfig, train
from needs import fork_context

TINY: dict[str, Any] = {
    "dataset_name": "scenes:flowers",
    "num_scenes": 14,
    "image_size": 16,
    "train_batch_size": 4,
    "eval_batch_size": 4,
    "num_epochs": 3,
    "lr_warmup_steps": 2,
    "learning_rate": 1e-3,
    "checkpoint_every": 2,
    "sample_steps": 2,
    "log_every": 1,
    "log_with": None,
    "progress_bar": False,
    "model": {
        "layers_per_block": 1,
        "block_out_channels": [8, 8],
        "down_block_types": ["DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D"],
        "norm_num_groups": 4,
        "attention_head_dim": 8,
    },
}


@pytest.fixture(autouse=True)
def always_one_thread(one_thread: None) -> None:
    """Losses are compared bit for bit."""


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., TrainingConfig]:
    """Settings of a tiny run, with some changed."""

    def make(**changes: Any) -> TrainingConfig:
        return TrainingConfig(**{**TINY, "output_dir": str(tmp_path / "run"), **changes})

    return make


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs that was cut off in the last one: its checkpoints are of 4 and 6."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    stock, seen = loop.diffusion_loss, 0

    def cut_off(*arguments: Any) -> torch.Tensor:
        nonlocal seen
        seen += 1
        if seen > 7:
            raise KeyboardInterrupt
        return stock(*arguments)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "diffusion_loss", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train(TrainingConfig(**{**TINY, "output_dir": str(folder)}))
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def cut(begun: Path, tiny: Callable[..., TrainingConfig]) -> Path:
    """A copy of that run where `tiny` goes on; its newest checkpoint."""
    folder = Path(tiny().output_dir)
    shutil.copytree(begun, folder)
    return folder / "checkpoints" / "checkpoint-00000006"


def _one_of_two(rank: int, port: int, answers: Any, task: Callable[..., Any], given: Any) -> None:
    PartialState._reset_state()
    os.environ |= {
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",  # else accelerate asks for threads that a fork does not have
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    answer = task(*given)
    if rank == 0:
        answers.put(answer)
    PartialState().destroy_process_group()


@pytest.fixture
def in_two_processes() -> Callable[..., Any]:
    """Calls a function in two processes that are joined by gloo; what the first one answers, and
    how they ended."""
    fork = fork_context()

    def run(task: Callable[..., Any], *given: Any) -> tuple[Any, list[int | None]]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        answers = fork.Queue()
        both = [
            fork.Process(target=_one_of_two, args=(rank, port, answers, task, given))
            for rank in range(2)
        ]
        for process in both:
            process.start()
        both[0].join(0.01)
        answer = None
        while any(process.is_alive() for process in both) or not answers.empty():
            if not answers.empty():
                answer = answers.get()
            both[0].join(0.01)
        for process in both:
            process.join()
        return answer, [process.exitcode for process in both]

    return run
