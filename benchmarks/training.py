"""Training loops side by side, and what each trick of a good trainer is worth.

    python benchmarks/training.py loops       # time and memory: the notes', the script's, ours
    python benchmarks/training.py target      # time until the loss is as low as the notes' was
    python benchmarks/training.py grids       # time of a sample grid
    python benchmarks/training.py budget      # loss for equal samples
    python benchmarks/training.py speed       # tricks that change the time of a step, one by one
    python benchmarks/training.py quality     # tricks that change what is learned, one by one
    python benchmarks/training.py processes   # two processes against one

On a CPU the model and the pictures are those of chapter 5's small profile. On a CUDA GPU they are
the notes': 128x128, six blocks, 113.7 million parameters, batches of 16; scenes stand in for the
photographs. Every loop gets the same pictures, first weights, batch size and learning rate.

Times are by the clock and need a machine that does nothing else. Where it is busy, `--threads 1`
counts the seconds that this process had a core.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from typing import Any

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from lib.peak_memory import high_water, peak_memory
from lib.side_by_side import side_by_side
from lib.training_loops import (
    BATCH,
    CUDA,
    FIRST_HELD_OUT,
    LOOPS,
    PICTURES,
    SETTINGS,
    SHARED_FOLDER,
    Outcome,
    after_each_step,
    clock,
    companion_loop,
    dataset,
    fresh_model,
    held_out,
    held_out_error,
    our_loop,
    size,
)
from torch import Tensor

from companion import training
from companion.metrics import kid
from companion.training.evaluation import draw
from companion.training.order import processes as processes_of_run
from companion.training.pictures import to_square
from companion.zoo.recognise import as_batch, scene_features


def memory_of_loop(name: str) -> float:
    """MB that a loop takes at most beyond what was loaded before, of the GPU's memory or main
    memory."""
    if CUDA:
        return peak_memory(lambda: LOOPS[name](1, 4 * BATCH)) / 1e6
    # A process of its own: this one keeps what earlier runs have freed.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_growth, name, SETTINGS).result()


def _growth(name: str, settings: dict[str, Any]) -> float:
    SETTINGS.update(settings)
    dataset(4 * BATCH)
    before = high_water()
    LOOPS[name](1, 4 * BATCH)
    return (high_water() - before) / 1e6


def loops(rounds: int) -> None:
    """Time of the same pictures in each loop, loading and saving included; memory."""
    pictures, epochs = 4 * BATCH, 12
    dataset(pictures)
    print(
        f"{epochs} epochs of {pictures} pictures, {size()}x{size()}, loading and saving included:"
    )
    cases = {name: partial(loop, epochs, pictures) for name, loop in LOOPS.items()}
    side_by_side(cases, rounds, clock)
    print()
    for name in LOOPS:
        print(f"{name:24} takes {memory_of_loop(name):6.0f} MB at most")


Curve = list[tuple[float, float]]  # seconds of a run, loss at that time


def curve(loop: Callable[[int], Outcome], epochs: int) -> Curve:
    """Loss of held-out pictures every tenth of an epoch; looking at it takes none of the time."""
    probe, points = fresh_model().to("cuda" if CUDA else "cpu"), []
    every, step, away, began = max(1, PICTURES // BATCH // 10), 0, 0.0, clock()

    def look(optimizer: torch.optim.Optimizer) -> None:
        nonlocal step, away
        step += 1
        if step % every:
            return
        left = clock()
        with torch.no_grad():
            trained = optimizer.param_groups[0]["params"]
            for mine, theirs in zip(probe.parameters(), trained, strict=True):
                mine.copy_(theirs)
        loss, _ = held_out_error(Outcome(probe, DDPMScheduler(), step, probe))
        points.append((left - began - away, loss))
        away += clock() - left

    with after_each_step(look):
        loop(epochs)
    return points


def reached(points: Curve, loss: float) -> float:
    """Seconds until the loss is that low for the first time; NaN where it never is."""
    return next((seconds for seconds, value in points if value <= loss), float("nan"))


def target(rounds: int) -> None:
    """Time until a loop's last weights are as good as the notes' were in the course of a run."""
    epochs = SETTINGS["num_epochs"]
    dataset(), held_out()
    curves: dict[str, list[Curve]] = {name: [] for name in LOOPS}
    for _ in range(rounds):
        for name, loop in LOOPS.items():
            curves[name].append(curve(loop, epochs))
    notes = curves["the notes' loop"][0]
    print(f"{epochs} epochs of {PICTURES} pictures, {size()}x{size()}; seconds until a loss:")
    for part in (0.25, 0.5, 0.75, 1.0):
        loss = min(value for _, value in notes[: round(part * len(notes))])
        for name, runs in curves.items():
            seconds = statistics.median(reached(points, loss) for points in runs)
            if name == "the notes' loop":
                baseline = seconds
            print(f"{loss:.4f}  {name:24} {seconds:7.1f}  {seconds / baseline:.2f}")
    for name, runs in curves.items():
        seconds = statistics.median(points[-1][0] for points in runs)
        rate, loss = epochs * PICTURES / seconds, runs[0][-1][1]
        print(
            f"in the end: {name:24} {seconds:7.1f} s, "
            f"{rate:4.0f} pictures a second, loss {loss:.4f}"
        )


def grids(rounds: int) -> None:
    """A grid of 16 samples, with the steps that each loop takes for it."""
    unet, noise_scheduler = fresh_model().eval(), DDPMScheduler()
    unet.to("cuda" if CUDA else "cpu")
    steps = training.TrainingConfig().sample_steps
    pipeline = DDPMPipeline(unet=unet, scheduler=noise_scheduler)
    pipeline.set_progress_bar_config(disable=True)
    cases = {
        "the notes' and the script's, 1000 steps": partial(pipeline, batch_size=16),
        f"ours, {steps} steps": partial(draw, unet, noise_scheduler, 16, steps=steps, seed=0),
    }
    side_by_side(cases, rounds, clock)


def budget(rounds: int) -> None:
    """Each loop, trained from the beginning for a budget of pictures, with its own schedule."""
    print("loss of held-out pictures (noise), error of their x_0; by pictures seen")
    for epochs in (2, 4, 8)[: max(1, rounds)]:
        for name, loop in LOOPS.items():
            loss, error = held_out_error(loop(epochs))
            print(f"{epochs * PICTURES:6}  {name:24} {loss:.4f}  {error:.3f}", flush=True)


SPEED: dict[str, dict[str, Any]] = {
    "nothing": {"fused": False, "on_device": False},
    "data on the device": {"fused": False},
    "fused AdamW": {"on_device": False},
    "EMA": {"fused": False, "on_device": False, "ema_decay": 0.99},
    "bf16": {"fused": False, "on_device": False, "mixed_precision": "bf16"},
    "these four": {"ema_decay": 0.99, "mixed_precision": "bf16"},
    "these four, compile": {"ema_decay": 0.99, "mixed_precision": "bf16", "compile": True},
    "channels_last": {"fused": False, "on_device": False, "channels_last": True},
    "compile": {"fused": False, "on_device": False, "compile": True},
}


def speed(rounds: int) -> None:
    """A step's time with one trick each, its data included: the median of a run's last steps."""
    pictures, epochs, counted = 4 * BATCH, 12, 36
    dataset(pictures)
    steps: dict[str, list[float]] = {name: [] for name in SPEED}
    first: dict[str, float] = dict.fromkeys(SPEED, 0.0)
    for _ in range(rounds):
        for name, changes in SPEED.items():
            times = [clock()]
            with after_each_step(lambda _, times=times: times.append(clock())):
                companion_loop(epochs, pictures, **changes)
            apart = [after - before for before, after in pairwise(times)]
            steps[name].append(statistics.median(apart[-counted:]))
            first[name] = max(first[name], apart[0])  # later rounds find compiled code again
    baseline = statistics.median(steps["nothing"])
    print(f"{size()}x{size()}     a step, ms   min..max, ms  ratio   until the first step, s")
    for name, medians in steps.items():
        median = statistics.median(medians)
        spread = f"{1000 * min(medians):.1f}..{1000 * max(medians):.1f}"
        print(
            f"{name:22} {1000 * median:6.1f} {spread:>14} {median / baseline:6.2f} "
            f"{first[name]:10.1f}"
        )


AVERAGED = {"ema_decay": SETTINGS["ema_decay"]}
QUALITY: dict[str, dict[str, Any]] = {
    "EMA": {},
    "EMA, min-SNR": {"snr_gamma": 5.0},
    "EMA, v": {"prediction_type": "v_prediction"},
    "EMA, x_0": {"prediction_type": "sample"},
    "EMA, v, min-SNR": {"prediction_type": "v_prediction", "snr_gamma": 5.0},
    "EMA, bf16": {"mixed_precision": "bf16"},
}


QUALITY_EPOCHS = 16
DRAWS, DRAWN = 5, 128  # so many times, so many pictures
REAL = 1024  # held-out scenes that drawn pictures are compared with


def quality(_: int) -> None:
    """A whole run with one trick each: error on held-out pictures, and KID of drawn ones."""
    pictures = _held_out_pictures(REAL + DRAWS * DRAWN)
    real, others = _features(pictures[:REAL]), pictures[REAL:].split(DRAWN)
    noise = [_noise(seed).clamp(-1, 1) for seed in range(DRAWS)]
    print(f"KID of {DRAWN} pictures to {REAL} held-out scenes: mean, lowest..highest of {DRAWS}")
    print(f"of other scenes {_kids(real, others)}, of noise {_kids(real, noise)}")
    print("trick             loss    x_0    KID, DDIM in 25      KID, DDPM in 50")

    def report(name: str, unet: UNet2DModel, run: Outcome) -> None:
        loss, error = held_out_error(replace(run, unet=unet))
        ddim = [draw(unet, run.noise_scheduler, DRAWN, steps=25, seed=s) for s in range(DRAWS)]
        pipeline = DDPMPipeline(
            unet=unet, scheduler=DDPMScheduler.from_config(run.noise_scheduler.config)
        )
        pipeline.set_progress_bar_config(disable=True)
        ddpm = []
        for seed in range(DRAWS):
            arrays = pipeline(
                batch_size=DRAWN,
                generator=torch.Generator().manual_seed(seed),
                num_inference_steps=50,
                output_type="np",
            ).images
            ddpm.append(torch.from_numpy(arrays).permute(0, 3, 1, 2) * 2 - 1)
        scores = f"{_kids(real, ddim):18}   {_kids(real, ddpm):18}"
        print(f"{name:16} {loss:7.4f}  {error:.3f}   {scores}", flush=True)

    for name, changes in QUALITY.items():
        run = companion_loop(QUALITY_EPOCHS, **{**AVERAGED, **changes})
        if name == "EMA":
            report("no EMA", run.last, run)
        report(name, run.unet, run)


def _held_out_pictures(count: int) -> Tensor:
    """Scenes that no run sees, other than those of `held_out`."""
    first = FIRST_HELD_OUT + 1000
    squares = [to_square(image, size()) for image in dataset(count, first)["image"]]
    return torch.stack(squares) / 127.5 - 1


def _noise(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(DRAWN, 3, size(), size(), generator=generator)


def _features(images: Tensor) -> Tensor:
    return torch.cat([scene_features(as_batch(part)) for part in images.split(DRAWN)])


def _kids(real: Tensor, sets: Sequence[Tensor]) -> str:
    """KID of each set of pictures: their mean, and the lowest and highest."""
    scores = [kid(scene_features(as_batch(images)), real) for images in sets]
    return f"{statistics.mean(scores):.1f} ({min(scores):.1f}..{max(scores):.1f})"


def processes(rounds: int) -> None:
    """Pictures a second on one core, on two by threads, and on two by processes; batches alike."""
    cases = {"one process": (1, 1), "two processes": (2, 1)}  # processes, threads of each
    if not CUDA:
        cases["one process, two threads"] = (1, 2)
    rates: dict[str, list[float]] = {name: [] for name in cases}
    # Not `accelerate launch`: on a CPU it starts several processes by MPI only.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    for _ in range(rounds):
        for name, (count, threads) in cases.items():
            command = [*launch, f"--nproc_per_node={count}", __file__, "share"]
            with tempfile.TemporaryDirectory() as shared:
                answer = subprocess.run(
                    [*command, "--size", str(size())],
                    env={
                        **os.environ,
                        "OMP_NUM_THREADS": str(threads),
                        "ACCELERATE_USE_CPU": str(not CUDA),
                        SHARED_FOLDER: shared,
                    },
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
            started, rate = answer.stdout.split()[-2:]
            if int(started) != count:
                raise RuntimeError(f"{started} processes trained together, not {count}.")
            rates[name].append(float(rate))
    alone = statistics.median(rates["one process"])
    print(f"batches of {BATCH} in all, bf16, {size()}x{size()}:")
    for name, measured in rates.items():
        rate = statistics.median(measured)
        print(f"{name:26} {rate:6.0f} pictures a second  {rate / alone:.2f}")


def share(_: int) -> None:
    """A run inside a process that accelerate launched: its pictures a second, without the ends."""
    state = processes_of_run()
    times: list[float] = []
    with after_each_step(lambda _: times.append(time.perf_counter())):
        our_loop(6, 8 * BATCH, train_batch_size=BATCH // state.num_processes)
    if state.is_main_process:
        # The first steps are slower.
        print(state.num_processes, BATCH * (len(times) - 9) / (times[-1] - times[8]))


PARTS = {
    "loops": loops,
    "target": target,
    "grids": grids,
    "budget": budget,
    "speed": speed,
    "quality": quality,
    "processes": processes,
    "share": share,
}


def main() -> None:
    """Run the part that the command line names, or all that print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("part", nargs="?", choices=PARTS, help="default: all tables")
    parser.add_argument("--rounds", type=int, default=3, help="turns of a table of times")
    parser.add_argument("--size", type=int, help="side of the pictures; default: the profile's")
    parser.add_argument(
        "--file-size",
        type=int,
        default=256 if CUDA else 64,
        help="side of the pictures in their files; default: %(default)s",
    )
    parser.add_argument("--threads", type=int, help="of a CPU; default: all cores")
    options = parser.parse_args()
    SETTINGS["image_size"] = options.size or SETTINGS["image_size"]
    SETTINGS["file_size"] = options.file_size
    if options.threads:
        torch.set_num_threads(options.threads)
    for name in [options.part] if options.part else [name for name in PARTS if name != "share"]:
        if name != "share":
            print(f"\n== {name}")
        PARTS[name](options.rounds)


if __name__ == "__main__":
    main()
