"""Text to image in several ways, side by side, and how many steps each scheduler needs.

    python benchmarks/sampling.py              both tables on the zoo's model; on a GPU, where there
                                               is one, also Stable Diffusion 1.4's configuration
    python benchmarks/sampling.py --compile    also with the UNet compiled on the CPU: minutes more

The ways: the loop of the notes as they write it, Diffusers' pipeline as it comes, the plain loop of
`companion.stable_diffusion`, and `companion.autopipeline` optimised, also with guidance in a part
of the steps only. All draw from the same seeds with the same scheduler and steps.
"""

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import diffusers
import torch
import transformers
from lib.peak_memory import peak_memory
from lib.side_by_side import side_by_side
from PIL import Image

from companion.autopipeline import (
    draw,
    make_scheduler,
    optimise,
    scheduler_names,
    sweep,
)
from companion.metrics import psnr
from companion.scenes import backgrounds, subset
from companion.stable_diffusion import Parts, load_parts, text_to_image
from companion.zoo import folder, recognise

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()

# Parameters of CompVis/stable-diffusion-v1-4: what is built here must be of its size.
SD14_SIZES = {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}
STEPS = (5, 10, 20, 40)
LAST = 200


def notes_loop(
    parts: Parts, prompts: Sequence[str], seeds: Sequence[int], steps: int, guidance_scale: float
) -> list[Image.Image]:
    """The loop of the notes, section 2: both halves in one batch, the empty prompt with gradients.

    Two things are not as in the notes: noise is drawn on the CPU with a seed for each picture, so
    that all ways have the same, and the VAE's own scale and factor stand for theirs, which
    are those of Stable Diffusion 1.x.
    """
    unet, vae, scheduler, device = parts.unet, parts.vae, parts.scheduler, parts.device
    length = parts.tokenizer.model_max_length
    options = {"padding": "max_length", "max_length": length, "return_tensors": "pt"}
    text_input = parts.tokenizer(list(prompts), truncation=True, **options)
    with torch.no_grad():
        text_embeddings = parts.text_encoder(text_input.input_ids.to(device))[0]
    uncond_input = parts.tokenizer([""] * len(prompts), **options)
    uncond_embeddings = parts.text_encoder(uncond_input.input_ids.to(device))[0]
    text_embeddings = torch.cat([uncond_embeddings, text_embeddings])

    side = unet.config.sample_size
    latents = torch.cat(
        [
            torch.randn(
                (1, unet.config.in_channels, side, side),
                generator=torch.Generator().manual_seed(seed),
            )
            for seed in seeds
        ]
    ).to(device)
    latents = latents * scheduler.init_noise_sigma
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        latent_model_input = torch.cat([latents] * 2)
        latent_model_input = scheduler.scale_model_input(latent_model_input, timestep=t)
        with torch.no_grad():
            noise_pred = unet(latent_model_input, t, encoder_hidden_states=text_embeddings).sample
        noise_pred_uncond, noise_pred_text = noise_pred.chunk(2)
        noise_pred = noise_pred_uncond + guidance_scale * (noise_pred_text - noise_pred_uncond)
        latents = scheduler.step(noise_pred, t, latents).prev_sample
    with torch.no_grad():
        images = vae.decode(1 / vae.config.scaling_factor * latents).sample
    images = (images / 2 + 0.5).clamp(0, 1)
    pixels = (images.permute(0, 2, 3, 1) * 255).to(torch.uint8).cpu().numpy()
    return [Image.fromarray(picture) for picture in pixels]


def assemble(parts: Parts) -> Any:
    """Diffusers' pipeline of these parts, with a scheduler of its own."""
    named = {**vars(parts), "scheduler": copy.deepcopy(parts.scheduler)}
    pipe = diffusers.StableDiffusionPipeline(
        **named, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def four_ways(
    make: Callable[[], Parts], count: int, steps: int, guidance_scale: float, **options: Any
) -> dict[str, Callable[[], list[Image.Image]]]:
    """The four ways of drawing `count` pictures, each with networks of its own."""
    prompts = [f"a {name} on a red background" for name in subset("stable-diffusion").objects]
    prompts, seeds = prompts[:count], list(range(count))
    notes, plain = make(), make()
    stock, quick = assemble(make()), assemble(make())
    print(optimise(quick))
    settings = {"num_inference_steps": steps, "guidance_scale": guidance_scale}

    def pipeline() -> list[Image.Image]:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return stock(prompts, generator=generators, **settings).images

    ways: dict[str, Callable[[], list[Image.Image]]] = {
        "notes' loop": lambda: notes_loop(notes, prompts, seeds, steps, guidance_scale),
        "Diffusers' pipeline": pipeline,
        "our plain loop": lambda: text_to_image(plain, prompts, seeds=seeds, **settings),
        "ours, optimised": lambda: draw(quick, prompts, seeds=seeds, **settings),
        "and guided=0.7": lambda: draw(quick, prompts, seeds=seeds, guided=0.7, **settings),
    }
    if options.get("compiled"):
        compiled = assemble(make())
        began = time.perf_counter()
        print(optimise(compiled, compile_on_cpu=True))
        draw(compiled, prompts, seeds=seeds, guided=0.7, **settings)  # compiles for these sizes
        print(f"compiling took {time.perf_counter() - began:.0f} s, with {count} drawn")
        ways["optimised, compiled"] = lambda: draw(compiled, prompts, seeds=seeds, **settings)
        ways["that and guided=0.7"] = lambda: draw(
            compiled, prompts, seeds=seeds, guided=0.7, **settings
        )
    return ways


def compare(
    title: str, ways: dict[str, Callable[[], list[Image.Image]]], rounds: int, on_gpu: bool
) -> None:
    """Print the table of one model: time, ratio, peak memory, and how alike the pictures are."""
    print(f"\n{title}:")
    first = next(iter(ways.values()))()
    for name, way in ways.items():
        alike = min(psnr(*pair) for pair in zip(first, way(), strict=True))
        print(
            f"{name:20} {peak_memory(way, on_gpu) / 2**20:7.1f} MiB beside the weights at most, "
            f"worst PSNR to the first {alike:5.1f} dB"
        )
    # On a CPU all work is the process's own; on a GPU it is not.
    side_by_side(ways, rounds, time.perf_counter if on_gpu else time.process_time)


def schedulers(count: int) -> None:
    """Print, for each scheduler and number of steps, the verdicts and the way to 200 steps."""
    things, colours = subset("stable-diffusion").objects[:count], list(backgrounds())[:count]
    prompts = [f"a {a} on a {b} background" for a, b in zip(things, colours, strict=True)]
    seeds = list(range(100, 100 + count))
    pipe = assemble(zoo_parts())
    end = draw(pipe, prompts, seeds=seeds, num_inference_steps=LAST, guidance_scale=4.0)
    print(
        f"\n{count} prompts, guidance 4: pictures that the classifier names rightly, and PSNR to "
        f"the picture of {LAST} steps of UniPC (mean, dB; DDPM leads elsewhere)"
    )
    print(f"{'':16} UNet calls" + "".join(f"{f'{steps} steps':>14}" for steps in STEPS))
    for name in scheduler_names():
        drawn = sweep(
            pipe,
            prompts,
            {"scheduler": [name], "num_inference_steps": STEPS},
            seeds=seeds,
            guidance_scale=4.0,
        )
        cells = []
        for start in range(0, len(drawn), count):
            pictures = [sample.picture for sample in drawn[start : start + count]]
            right = sum(
                seen.objects == (thing,) and seen.background == colour
                for seen, thing, colour in zip(recognise(pictures), things, colours, strict=True)
            )
            near = statistics.mean(psnr(*pair) for pair in zip(pictures, end, strict=True))
            cells.append(f"{right}/{count} {near:8.1f}")
        more = {sample.unet_calls - sample.settings["num_inference_steps"] for sample in drawn}
        calls = " or ".join(f"steps + {extra}" if extra else "steps" for extra in sorted(more))
        print(f"{name:16} {calls:10}" + "".join(f"{cell:>14}" for cell in cells))


def sd14(device: str) -> Parts:
    """Stable Diffusion 1.4's configuration with random weights, in float32."""
    torch.manual_seed(0)
    with torch.device(device):
        unet = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
        vae = diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            sample_size=512,
        )
        text_encoder = transformers.CLIPTextModel(
            transformers.CLIPTextConfig(
                vocab_size=49408,
                hidden_size=768,
                intermediate_size=3072,
                num_hidden_layers=12,
                num_attention_heads=12,
                projection_dim=768,
            )
        )
    for name, network in (("unet", unet), ("vae", vae), ("text_encoder", text_encoder)):
        assert sum(weights.numel() for weights in network.parameters()) == SD14_SIZES[name], name
    zoo = load_parts(folder("stable-diffusion"))
    return Parts(
        tokenizer=zoo.tokenizer,
        text_encoder=text_encoder.eval(),
        vae=vae.eval(),
        unet=unet.eval(),
        scheduler=make_scheduler("UniPC", zoo.scheduler),
    )


def zoo_parts() -> Parts:
    """The zoo's model with UniPC, in float32, on the CPU."""
    parts = load_parts(folder("stable-diffusion"))
    unipc = make_scheduler("UniPC", parts.scheduler)
    return Parts(**{**vars(parts), "scheduler": unipc})


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--compile", action="store_true", help="also compile the UNet on the CPU")
    compiled = parser.parse_args().compile
    print(f"torch {torch.__version__}, diffusers {diffusers.__version__}, {platform.machine()},")
    torch.set_num_threads(1)  # and processor time: others may be at work beside us
    print("CPU: one thread")
    for count, rounds in ((1, 7), (8, 3)):
        ways = four_ways(zoo_parts, count, 25, 4.0, compiled=compiled)
        compare(f"zoo, {count} of 64x64, UniPC, 25 steps, guidance 4, CPU", ways, rounds, False)
    schedulers(count=8)
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name())
        ways = four_ways(lambda: sd14("cuda"), 1, 50, 7.5)
        compare(
            "Stable Diffusion 1.4, random weights, 512x512, UniPC, 50 steps, 7.5", ways, 3, True
        )
    else:
        print("\nno GPU: Stable Diffusion 1.4's configuration was not measured")


if __name__ == "__main__":
    main()
