"""What tracing attention costs: a pipeline untraced, traced by us, and traced by daam.

    python benchmarks/tracing.py              # what this machine can: zoo, sd14, on a GPU sdxl
    python benchmarks/tracing.py sd14 sdxl    # or those named

On a GPU in half precision; on a CPU in single precision and few steps, by the time that the
processor spent on it. The latents are not decoded: tracing has no part in that. What is measured
goes to `benchmarks/results` at once.
"""

import argparse
import gc
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import diffusers
import torch
import transformers
from lib.models import networks, pipeline
from lib.peak_memory import peak_memory
from lib.results import RESULTS, Recorder, Times
from lib.side_by_side import gpu_clock, measure, show
from lib.time_limit import TimeLimit

transformers.logging.set_verbosity_error()
diffusers.logging.set_verbosity_error()
diffusers.logging.disable_progress_bar()
warnings.simplefilter("ignore", FutureWarning)

import daam  # noqa: E402
from diffusers import StableDiffusionPipeline  # noqa: E402

from companion.attention import trace  # noqa: E402
from companion.zoo import folder  # noqa: E402

PROMPT = "a cat above a moon on a blue background"
MIB = 2**20
# Steps on a GPU and on a CPU, and turns there: SD 1.4's networks take a minute a step on a CPU.
STEPS = {"zoo": (50, 10), "sd14": (50, 1), "sdxl": (20, 1)}
TURNS = {"zoo": (5, 7), "sd14": (3, 3), "sdxl": (3, 1)}
# daam's names of the sizes of a model of 64 pixels are 6 and 12 beside those of others.
FACTORS = {1, 2, 4, 6, 12}
SIDES_OF_DAAM = (64, 96)  # of its maps, by what it takes the model for


def load(name: str, size: str, device: str) -> Any:
    """The pipeline, on its device in the precision of a run there."""
    if name == "zoo":
        pipe = StableDiffusionPipeline.from_pretrained(str(folder("stable-diffusion")))
        pipe.set_progress_bar_config(disable=True)
    else:
        shapes = name if size == "full" else f"{name}-small"
        pipe = pipeline(shapes, networks(shapes, device), scheduler="DDIM")
    return pipe.to(device, torch.float16 if device == "cuda" else torch.float32)


def compare(name: str, options: argparse.Namespace) -> None:
    """Measure drawing, in time and memory, then a map for every token; print and write it."""
    on_gpu, small = torch.cuda.is_available(), options.size == "small"
    steps, turns = STEPS[name][not on_gpu], TURNS[name][not on_gpu]
    if small:
        steps, turns = 2, 1
    recorder = Recorder(
        f"tracing-{name}",
        on_gpu=on_gpu,
        precision="float16" if on_gpu else "float32",
        settings={"steps": steps, "pictures": 1, "clock": "wall" if on_gpu else "processor"},
        size=options.size,
        folder=options.results,
    )
    if all(way in recorder for way in ("untraced", "ours", "daam")):
        print(f"{name} is measured already")
        recorder.finish()
        return
    pipe = load(name, options.size, "cuda" if on_gpu else "cpu")

    def draw() -> None:
        noise = torch.Generator().manual_seed(0)
        pipe(PROMPT, num_inference_steps=steps, output_type="latent", generator=noise)

    gathered: dict[str, Any] = {}

    def traced(tracer: Callable[[Any], Any], label: str) -> None:
        with tracer(pipe) as maps:
            draw()
        gathered[label] = maps

    ways = {
        "untraced": draw,
        "ours": partial(traced, trace, "ours"),
        "daam": partial(traced, daam.trace, "daam"),
    }
    clock = gpu_clock if on_gpu else process_time
    print(f"\n{name}, {steps} steps on {pipe.device} in {pipe.unet.dtype}:", flush=True)
    drawing = measure(ways, turns, clock)
    show(drawing)
    peaks = {label: peak_memory(way, on_gpu) / MIB for label, way in ways.items()}
    found, reference = gathered["ours"], gathered["daam"]
    held = {
        "ours": sum(summed.nbytes for summed in found.sums.values()) / MIB,
        "daam": sum(heat.nbytes for _, heat in reference.all_heat_maps) / MIB,
    }
    sides = (int(reference.latent_hw**0.5),) * 2
    maps = {
        # For sizes that daam does not know it finds none: then there is nothing to compare.
        "daam": partial(reference.compute_global_heat_map, factors=FACTORS),
        "ours, maps of daam's size": partial(found.compute_global_heat_map, size=sides),
        "ours": found.compute_global_heat_map,
    }
    try:
        maps["daam"]()
    except RuntimeError as error:
        print(f"daam makes no map here: {error}")
        del maps["daam"]
    print("a map for every token:")
    mapping = measure(maps, 1 if small else 7, clock)
    show(mapping)
    for label in ways:
        figures: dict[str, Any] = {"seconds": drawing[label], "memory_mib": peaks[label]}
        figures |= {"held_mib": held[label]} if label in held else {}
        figures |= {"map_seconds": _or_less(mapping[label])} if label in mapping else {}
        recorder.note(label, **figures)
    if "daam" in maps:
        ours, theirs = maps["ours, maps of daam's size"](), maps["daam"]()
        apart = (ours.heat_maps - theirs.heat_maps).abs().max() / theirs.heat_maps.max()
        recorder.note(
            "ours, maps of daam's size",
            map_seconds=_or_less(mapping["ours, maps of daam's size"]),
            difference=float(apart),
        )
        print(f"largest difference of the two, as a part of the largest value: {apart:.1e}")
    print(
        ", ".join(f"{label}: {peaks[label]:.1f} MiB at most" for label in ways)
        + f"; held after: {held['ours']:.1f} MiB ours, {held['daam']:.1f} MiB daam",
        flush=True,
    )
    recorder.finish()


def _or_less(found: Times) -> Times:
    """A clock of the processor may not have moved in so short a time."""
    least = 1e-6
    return Times(
        median=max(found.median, least),
        low=max(found.low, least),
        high=max(found.high, least),
        rounds=found.rounds,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare at the models named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("models", nargs="*", help=f"of {', '.join(STEPS)}")
    parser.add_argument("--minutes", type=float, help="begin no further model after so many")
    parser.add_argument("--size", choices=("full", "small"), default="full", help="small: a trial")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder; default: %(default)s"
    )
    options = parser.parse_args(arguments)
    options.limit = TimeLimit(options.minutes)
    if unknown := [name for name in options.models if name not in STEPS]:
        parser.error(f"there is no model {unknown[0]!r}: choose of {', '.join(STEPS)}")
    names = options.models or (STEPS if torch.cuda.is_available() else ("zoo", "sd14"))
    failed = False
    for name in names:
        if options.limit.over():
            print(f"no time is left for {name}")
            continue
        try:
            compare(name, options)
        except Exception:  # the next one may work
            traceback.print_exc()
            failed = True
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
