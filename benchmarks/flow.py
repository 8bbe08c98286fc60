"""The zoo's transformer, which learned a flow, beside its UNet, which learned the noise.

    python benchmarks/flow.py            what a call costs, and what both draw in how many steps

Both draw the captions of the same scenes, which neither learned from, with guidance 4. UniPC and
Euler call their network once a step, so that equal steps are equal calls; the first table says what
a call costs.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from diffusers import (
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from lib.results import RESULTS, Recorder
from lib.side_by_side import side_by_side
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from companion.evaluation.drawing import generators, load
from companion.evaluation.text_to_pictures import in_batches, scenes_features
from companion.metrics import kid, percent
from companion.scenes import HELD_OUT, Scene, scene, subset
from companion.zoo import folder, recognise
from companion.zoo.recognise import as_batch, scene_features

WORLD = "stable-diffusion"
GUIDANCE = 4.0
STEPS = (2, 4, 8, 15, 25)
SHIFTS = (1.0, 2.0, 3.0, 5.0)
SHIFTED_STEPS = (4, 8, 25)
PICTURES = 256
FIRST = HELD_OUT + 10**6  # no seed that a card was measured on
CALLS = 10  # a round of the clock


def unet_pipeline(
    scheduler: type[DDIMScheduler] | type[UniPCMultistepScheduler],
) -> StableDiffusionPipeline:
    """The zoo's Stable Diffusion; pure noise belongs to the last timestep, as "linspace" has it."""
    pipeline: StableDiffusionPipeline = load(folder("stable-diffusion"), torch.device("cpu"))
    # Latents are not pixels: they go beyond 1, where DDIM would cut them off.
    pipeline.scheduler = scheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="linspace", clip_sample=False
    )
    return pipeline


def flow_pipeline(shift: float) -> StableDiffusion3Pipeline:
    """The zoo's flow."""
    pipeline: StableDiffusion3Pipeline = load(
        folder("flow"), torch.device("cpu"), text_encoder_3=None, tokenizer_3=None
    )
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler.from_config(
        pipeline.scheduler.config, shift=shift
    )
    return pipeline


def draw(
    pipeline: StableDiffusionPipeline | StableDiffusion3Pipeline,
    steps: int,
    prompts: list[str],
    first_seed: int,
) -> list[Image.Image]:
    """A picture for each prompt."""
    # There is no T5 encoder: none of its empty tokens.
    fewer = {"max_sequence_length": 0} if isinstance(pipeline, StableDiffusion3Pipeline) else {}
    images: list[Image.Image] = pipeline(
        prompts,
        num_inference_steps=steps,
        guidance_scale=GUIDANCE,
        generator=generators(first_seed, len(prompts)),
        **fewer,
    ).images
    return images


def figures(
    images: list[Image.Image], asked: Sequence[Scene], real: torch.Tensor
) -> dict[str, float]:
    """What the classifier names, and KID to true scenes."""
    seen = recognise(images)
    told = [(s, what) for s, what in zip(asked, seen, strict=True) if s.background in s.caption]
    return {
        "objects_percent": percent(
            {thing.name for thing in wanted.objects} <= set(what.objects)
            for wanted, what in zip(asked, seen, strict=True)
        ),
        "background_percent": percent(s.background == what.background for s, what in told),
        "kid": kid(scene_features(as_batch(images)), real),
    }


def call(pipeline: StableDiffusionPipeline | StableDiffusion3Pipeline) -> Callable[[], object]:
    """One guided call of the network, both halves in one batch, as the pipeline makes it."""
    kept: list[tuple[tuple[object, ...], dict[str, object]]] = []
    flow = isinstance(pipeline, StableDiffusion3Pipeline)
    network = pipeline.transformer if flow else pipeline.unet
    hook = network.register_forward_pre_hook(
        lambda _, args, kwargs: kept.append((args, kwargs)), with_kwargs=True
    )
    draw(pipeline, 1, ["a robot on an orange background"], 0)
    hook.remove()
    args, kwargs = kept[0]

    @torch.no_grad()
    def again() -> None:
        for _ in range(CALLS):
            network(*args, **kwargs)

    return again


def cost(folder_of_results: Path, size: str) -> None:
    """What a call costs: parameters, floating point operations, time."""
    recorder = Recorder(
        "flow-call",
        on_gpu=False,
        precision="float32",
        settings={"threads": 1, "clock": "processor", "calls": CALLS},
        size=size,
        folder=folder_of_results,
    )
    pipelines = {"UNet": unet_pipeline(UniPCMultistepScheduler), "transformer": flow_pipeline(3.0)}
    cases = {name: call(pipeline) for name, pipeline in pipelines.items()}
    measured = side_by_side(cases, 7 if size == "full" else 1, time.process_time)
    for name, pipeline in pipelines.items():
        network = pipeline.unet if name == "UNet" else pipeline.transformer
        # The fused kernel of a CPU is not counted.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            cases[name]()
        recorder.note(
            name,
            seconds=measured[name],
            parameters_million=sum(w.numel() for w in network.parameters()) / 1e6,
            gflop=counter.get_total_flops() / CALLS / 1e9,
        )
    recorder.finish()


def quality(folder_of_results: Path, size: str) -> None:
    """What both draw in how many steps, and what the shift of the timesteps changes."""
    count = PICTURES if size == "full" else 4
    world = subset(WORLD)
    asked = [scene(seed, subset=world) for seed in range(FIRST, FIRST + count)]
    real = scenes_features(range(FIRST + count, FIRST + count + 1000), world)
    ways = {
        "UNet, UniPC": (partial(unet_pipeline, UniPCMultistepScheduler), STEPS),
        "UNet, DDIM": (partial(unet_pipeline, DDIMScheduler), STEPS),
        **{
            f"transformer, Euler, shift {shift:g}": (
                partial(flow_pipeline, shift),
                STEPS if shift == 3 else SHIFTED_STEPS,
            )
            for shift in SHIFTS
        },
    }
    recorder = Recorder(
        "flow-quality",
        on_gpu=False,
        precision="float32",
        settings={"pictures": count, "scenes": len(real), "guidance": GUIDANCE},
        size=size,
        folder=folder_of_results,
    )
    for name, (make, numbers) in ways.items():
        if name in recorder:
            continue
        pipeline = make()
        found: dict[str, float] = {}
        for steps in numbers if size == "full" else (2,):
            images = in_batches(
                partial(draw, pipeline, steps), [wanted.caption for wanted in asked], 0
            )
            told = figures(images, asked, real)
            found |= {f"{figure}_{steps}": value for figure, value in told.items()}
            print(name, steps, {key: round(value, 2) for key, value in told.items()}, flush=True)
        recorder.note(name, **found)
    recorder.finish()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--size", choices=("full", "small"), default="full", help="small: a trial")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder; default: %(default)s"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cost(options.results, options.size)
    quality(options.results, options.size)


if __name__ == "__main__":
    main()
