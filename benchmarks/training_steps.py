"""A training step's time in the notes' loop, the script's settings and ours, setting by setting.

    python benchmarks/training_steps.py

On a CUDA GPU with the notes' model: 128x128, 113.7 million parameters, batches of 16. On a CPU with
chapter 5's small one. All get the same pictures and first weights. What is measured goes to
`benchmarks/results` at once; a run that was cut off goes on with the ways that it lacks.
`benchmarks/training.py` asks the rest: time until a loss, what each trick does to the pictures.
"""

import argparse
import gc
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from lib.results import RESULTS, Recorder
from lib.side_by_side import times
from lib.time_limit import TimeLimit
from lib.training_loops import (
    BATCH,
    CUDA,
    LOOPS,
    SETTINGS,
    Outcome,
    after_each_step,
    clock,
    companion_loop,
    dataset,
    held_out,
    held_out_error,
    size,
)


def ways() -> dict[str, Callable[[int, int], Outcome]]:
    """The loops, ours in several settings; what says most comes first."""
    half = {"mixed_precision": "bf16"}
    return {
        "the notes' loop": LOOPS["the notes' loop"],
        "ours, bf16, channels_last": partial(companion_loop, **half, channels_last=True),
        "ours, bf16": partial(companion_loop, **half),
        "train_unconditional.py": LOOPS["train_unconditional.py"],
        "ours, bf16, EMA": partial(companion_loop, **half, ema_decay=SETTINGS["ema_decay"]),
        "ours, float32, no trick": partial(companion_loop, fused=False, on_device=False),
        "ours, bf16, compile": partial(companion_loop, **half, compile=True),
        "ours, bf16, channels_last, compile": partial(
            companion_loop, **half, channels_last=True, compile=True
        ),
    }


def steps(options: argparse.Namespace) -> None:
    """A step's time, data included, by the clock: the last steps of a short run of each way.

    The device is waited for at the ends of a turn only, so a loop that never waits has its gain.
    """
    small = options.size == "small"
    pictures, epochs, warm, turn = (2 * BATCH, 2, 1, 1) if small else (8 * BATCH, 8, 16, 16)
    total = pictures // BATCH * epochs
    recorder = Recorder(
        "training-steps",
        on_gpu=CUDA,
        precision="the notes' loop: fp16 on a GPU, else float32",
        settings={
            "side": size(),
            "batch": BATCH,
            "file_side": SETTINGS["file_size"],
            "steps": total,
            "threads": torch.get_num_threads(),
        },
        size=options.size,
        folder=options.results,
    )
    dataset(pictures), held_out()
    print(f"batches of {BATCH}, {size()}x{size()}, files of {SETTINGS['file_size']}:", flush=True)
    for name, way in ways().items():
        if name in recorder or options.limit.over():
            continue
        if small and "compile" in name:
            continue
        if CUDA:
            torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated() if CUDA else 0
        ends: list[float] = []
        count, began = 0, clock()

        def look(_: torch.optim.Optimizer, ends: list[float] = ends) -> None:
            nonlocal count
            count += 1
            if count >= warm and (count - warm) % turn == 0:
                if CUDA:
                    torch.cuda.synchronize()
                ends.append(clock())

        try:
            with after_each_step(look):
                run = way(epochs, pictures)
            figures: dict[str, Any] = {
                "step_seconds": times([(b - a) / turn for a, b in pairwise(ends)]),
                "warm_up_seconds": ends[0] - began,
            }
            if CUDA:
                figures["gpu_mib"] = (torch.cuda.max_memory_allocated() - held) / 2**20
            figures["loss"] = held_out_error(replace(run, unet=run.last))[0]
            recorder.note(name, **figures)
            print(f"{name:36} {1000 * figures['step_seconds'].median:8.1f} ms", flush=True)
            del run
        except Exception as error:  # out of memory, no compiler: the others may work
            traceback.print_exc()
            recorder.note(name, failed=f"{type(error).__name__}: {error}"[:200])
        torch.compiler.reset()
        gc.collect()
        if CUDA:
            torch.cuda.empty_cache()
    if not options.limit.over():
        recorder.finish()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the results do not have yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, help="begin nothing new after so many")
    parser.add_argument("--size", choices=("full", "small"), default="full", help="small: a trial")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder; default: %(default)s"
    )
    options = parser.parse_args(arguments)
    options.limit = TimeLimit(options.minutes)
    SETTINGS["file_size"] = 256 if CUDA and options.size == "full" else 64
    steps(options)


if __name__ == "__main__":
    main()
