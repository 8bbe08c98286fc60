"""What tracing attention costs: a pipeline untraced, traced by us, and traced by daam.

    python benchmarks/attention_overhead.py        # both models
    python benchmarks/attention_overhead.py zoo    # or one: zoo, sd14

On a GPU in half precision and 50 steps; on a CPU in single precision and few, by the time that the
processor spent on it. The latents are not decoded: tracing has no part in that.
"""

import sys
import warnings
from collections.abc import Callable
from functools import partial
from time import perf_counter, process_time
from typing import Any

import diffusers
import torch
import transformers
from lib.peak_memory import peak_memory
from lib.side_by_side import side_by_side

transformers.logging.set_verbosity_error()
diffusers.logging.set_verbosity_error()
diffusers.logging.disable_progress_bar()
warnings.simplefilter("ignore", FutureWarning)

import daam  # noqa: E402
from diffusers import (  # noqa: E402
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer  # noqa: E402

from companion.attention import trace  # noqa: E402
from companion.zoo import folder  # noqa: E402

ON_GPU = torch.cuda.is_available()
DEVICE, PRECISION = ("cuda", torch.float16) if ON_GPU else ("cpu", torch.float32)
PROMPT = "a cat above a moon on a blue background"
MIB = 2**20


def zoo() -> Any:
    """The small model that comes with the package: 64 x 64 pixels."""
    return StableDiffusionPipeline.from_pretrained(str(folder("stable-diffusion")))


def sd14() -> Any:
    """Stable Diffusion 1.4's networks, 512 x 512 pixels, with random weights."""
    torch.manual_seed(0)
    return StableDiffusionPipeline(
        tokenizer=CLIPTokenizer.from_pretrained(folder("stable-diffusion") / "tokenizer"),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                hidden_size=768, intermediate_size=3072, num_attention_heads=12, projection_dim=768
            )
        ).eval(),
        unet=UNet2DConditionModel(
            sample_size=64, cross_attention_dim=768, attention_head_dim=8
        ).eval(),
        vae=AutoencoderKL(  # only its factor of 8 matters here
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=8,
        ),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def compare(name: str, pipe: Any, steps: int, rounds: int) -> None:
    """Print what drawing costs, in time and memory, and then what a map costs."""
    pipe.to(DEVICE, PRECISION)
    pipe.set_progress_bar_config(disable=True)

    def draw() -> None:
        noise = torch.Generator().manual_seed(0)
        pipe(PROMPT, num_inference_steps=steps, output_type="latent", generator=noise)
        if ON_GPU:
            torch.cuda.synchronize()

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
    print(f"\n{name}, {steps} step{'s' * (steps > 1)} on {DEVICE} in {PRECISION}:")
    side_by_side(ways, rounds, perf_counter if ON_GPU else process_time)

    untraced, ours, theirs = (peak_memory(way) / MIB for way in ways.values())
    print(
        f"peak memory of tensors above the weights: {untraced:.1f} MiB untraced, "
        f"{ours - untraced:+.1f} MiB ours, {theirs - untraced:+.1f} MiB daam"
    )

    found, reference = gathered["ours"], gathered["daam"]
    held = sum(one.nbytes for one in found.sums.values()) / MIB
    held_by_daam = sum(one.nbytes for _, one in reference.all_heat_maps) / MIB
    print(f"maps held after: {held:.1f} MiB ours, {held_by_daam:.1f} MiB daam")
    # daam has its own idea of sizes: 6 and 12 are its names for those of a model of 64 pixels.
    factors = {1, 2, 4, 6, 12}
    size = (int(reference.latent_hw**0.5),) * 2
    aggregate = {
        "daam": partial(reference.compute_global_heat_map, factors=factors),
        "ours, maps of daam's size": partial(found.compute_global_heat_map, size=size),
        "ours, maps of the latents' size": found.compute_global_heat_map,
    }
    print("a map for every token:")
    side_by_side(aggregate)
    for label, case in aggregate.items():
        print(f"peak memory of {label}: {peak_memory(case) / MIB:.1f} MiB")
    ours, theirs = (aggregate[label]().heat_maps for label in list(aggregate)[1::-1])
    print(f"largest difference of the two: {(ours - theirs).abs().max():.1e}")


def main() -> None:
    """Compare at the models named on the command line, or at both."""
    for name in sys.argv[1:] or ("zoo", "sd14"):
        if name == "zoo":
            compare("the zoo's model", zoo(), steps=50 if ON_GPU else 10, rounds=7)
        else:
            pipe = sd14()
            compare("SD 1.4's networks", pipe, steps=50 if ON_GPU else 1, rounds=7 if ON_GPU else 3)


if __name__ == "__main__":
    main()
