"""Text to image in several ways, and how many steps each scheduler needs.

    python benchmarks/sampling.py             what this machine can: `zoo` and `steps` on one thread
                                              of the CPU; on a GPU `sd14` and `equal` instead
    python benchmarks/sampling.py means       on a CPU: what each means of `optimise` is worth
    python benchmarks/sampling.py sd14        Stable Diffusion 1.4's shapes, random weights, 512x512
    python benchmarks/sampling.py equal       the zoo's model: how good are pictures of fewer steps?
    python benchmarks/sampling.py --compile   on a CPU also with the UNet compiled: minutes more

The ways: the loop of the notes as they write it, Diffusers' pipeline as it comes, the plain loop of
`companion.stable_diffusion`, and `companion.autopipeline` optimised, also with guidance in a part
of the steps only. On a CPU it is optimised in PyTorch alone, and in OpenVINO and ONNX Runtime where
they are installed; likeness is to Diffusers' pipeline there, on a GPU to the notes' loop. All draw
from the same seeds with the same scheduler and steps. What is measured goes to `benchmarks/results`
at once; a part that was cut off goes on with the cases that it lacks.
"""

import argparse
import copy
import gc
import importlib.metadata
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from lib.models import networks, pipeline
from lib.peak_memory import peak_memory
from lib.results import RESULTS, Recorder, Size
from lib.side_by_side import gpu_clock, side_by_side, times
from lib.time_limit import TimeLimit
from PIL import Image

from companion.autopipeline import (
    draw,
    make_scheduler,
    optimise,
    scheduler_names,
    sweep,
)
from companion.autopipeline.exported import RUNTIMES
from companion.autopipeline.lean import products_in_bfloat16
from companion.autopipeline.on_cpu import MEANS
from companion.metrics import psnr
from companion.scenes import backgrounds, subset
from companion.stable_diffusion import Parts, load_parts, text_to_image
from companion.zoo import folder, recognise

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()

STEPS = (5, 10, 20, 40)
LAST = 200
NOTES = "notes' loop"
STOCK = "Diffusers' pipeline"
MIB = 2**20
Pictures = list[Image.Image]


def notes_loop(
    parts: Parts, prompts: Sequence[str], seeds: Sequence[int], steps: int, guidance_scale: float
) -> Pictures:
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


def parts_of(pipe: Any) -> Parts:
    """The parts of a pipeline, for the loops by hand."""
    names = ("tokenizer", "text_encoder", "vae", "unet", "scheduler")
    return Parts(**{name: getattr(pipe, name) for name in names})


def stock(pipe: Any, prompts: Sequence[str], seeds: Sequence[int], settings: Any) -> Pictures:
    """Diffusers' pipeline, called as everybody does."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return pipe(list(prompts), generator=generators, **settings).images


@dataclass(frozen=True)
class Way:
    """One way of drawing.

    Attributes:
        draw: draws the pictures.
        preparing: seconds that it took to make ready, with the first pictures.
        needs: packages that it takes besides.
    """

    draw: Callable[[], Pictures]
    preparing: float | None = None
    needs: tuple[str, ...] = ()


def ways_on_a_cpu(
    make: Callable[[], Parts], count: int, steps: int, guidance_scale: float, compiled: bool
) -> dict[str, Way]:
    """The ways of drawing `count` pictures on a CPU, each with networks of its own."""
    prompts = [f"a {name} on a red background" for name in subset("stable-diffusion").objects]
    prompts, seeds = prompts[:count], list(range(count))
    notes, plain, pipe = make(), make(), assemble(make())
    settings = {"num_inference_steps": steps, "guidance_scale": guidance_scale}

    def drawing(quick: Any, guided: float = 1.0) -> Callable[[], Pictures]:
        return lambda: draw(quick, prompts, seeds=seeds, guided=guided, **settings)

    def optimised(*, also_short: bool = False, **how: Any) -> tuple[Any, float]:
        quick = assemble(make())
        began = time.perf_counter()
        print(optimise(quick, **how))
        drawing(quick, 0.7 if also_short else 1.0)()  # what is made for this number of pictures
        return quick, time.perf_counter() - began

    quick, made = optimised(extras=())
    ways = {
        NOTES: Way(lambda: notes_loop(notes, prompts, seeds, steps, guidance_scale)),
        STOCK: Way(lambda: stock(pipe, prompts, seeds, settings)),
        "our plain loop": Way(lambda: text_to_image(plain, prompts, seeds=seeds, **settings)),
        "optimised": Way(drawing(quick), made),
        "optimised, guided=0.7": Way(drawing(quick, 0.7)),
    }
    for extra, runtime in RUNTIMES.items():
        if runtime.installed():
            fast, made = optimised(extras=[extra])
            ways[runtime.title] = Way(drawing(fast), made, (runtime.module, "onnx"))
    if compiled:
        whole, made = optimised(extras=(), compile_on_cpu=True, also_short=True)
        ways["compiled"] = Way(drawing(whole), made)
        ways["compiled, guided=0.7"] = Way(drawing(whole, 0.7))
    return ways


def zoo(options: argparse.Namespace) -> None:
    """One picture and eight of the zoo's model, on one thread: time, peak memory, likeness."""
    small = options.size == "small"
    torch.set_num_threads(1)  # and processor time: others may be at work beside us
    for count, rounds in ((1, 15), (8, 5)):
        steps = 2 if small else 25
        recorder = Recorder(
            f"sampling-zoo-{count}",
            on_gpu=False,
            precision="float32; optimised and OpenVINO: the UNet's products in bfloat16",
            settings={
                "pictures": count,
                "scheduler": "UniPC",
                "steps": steps,
                "guidance": 4.0,
                "threads": 1,
                "clock": "processor",
            },
            size=options.size,
            folder=options.results,
        )
        if small and count > 1:
            continue
        ways = ways_on_a_cpu(zoo_parts, count, steps, 4.0, options.compile)
        print(f"\nzoo, {count} of 64x64, UniPC, {steps} steps, guidance 4, one thread of a CPU:")
        reference = ways[STOCK].draw()
        near, held = {}, {}
        for name, way in ways.items():
            near[name] = likeness(reference, way.draw())
            held[name] = peak_memory(way.draw, on_gpu=False) / MIB
            print(f"{name:22} {held[name]:7.1f} MiB beside the weights, {near[name]:5.1f} dB")
        draws = {name: way.draw for name, way in ways.items()}
        measured = side_by_side(draws, 1 if small else rounds, time.process_time)
        for name, found in measured.items():
            figures: dict[str, Any] = {} if name == STOCK else {"psnr_db": near[name]}
            if (preparing := ways[name].preparing) is not None:
                figures["preparing_seconds"] = preparing
            if needs := ways[name].needs:
                figures["installed_mb"] = sum(map(installed_mb, needs))
            recorder.note(name, seconds=found, memory_mib=held[name], **figures)
        recorder.finish()


def installed_mb(package: str) -> float:
    """How much a package takes on the disk."""
    files = importlib.metadata.files(package) or []
    return sum(file.size or 0 for file in files) / 1e6


@dataclass(frozen=True)
class Group:
    """Cases that one pipeline serves.

    Attributes:
        make: makes it.
        cases: what is done with it; in order of worth.
    """

    make: Callable[[], Any]
    cases: dict[str, Callable[[Any], Pictures]]


def groups_of_sd14(
    base: dict[str, torch.nn.Module], size: Size, count: int, steps: int
) -> Iterator[Group]:
    """The ways at Stable Diffusion 1.4's shapes; what says most comes first."""
    prompts = [f"a photo of a {name}" for name in subset("stable-diffusion").objects[:count]]
    seeds, guidance = list(range(count)), 7.5
    name = "sd14" if size == "full" else "sd14-small"

    def fresh(dtype: torch.dtype = torch.float32) -> Any:
        # No UniPC here: it solves an equation on the GPU in every step, and waits for the answer.
        pipe = pipeline(name, base, scheduler="DPM++ 2M Karras")
        for part in (pipe.unet, pipe.vae, pipe.text_encoder):
            torch.nn.Module.to(part, dtype)
        return pipe

    def optimised(dtype: torch.dtype = torch.float32, whole: bool = False) -> Any:
        pipe = fresh(dtype)
        report = optimise(pipe, compile_whole=whole)
        print(report)
        if pipe.device.type == "cuda" and not report.done("compile"):
            raise RuntimeError(f"The UNet was not compiled: {report.decisions[-1].reason}")
        return pipe

    def drawn(pipe: Any, steps: int = steps, guided: float = 1.0) -> Pictures:
        settings = {"num_inference_steps": steps, "guidance_scale": guidance, "guided": guided}
        return draw(pipe, prompts, seeds=seeds, **settings)

    def by_the_notes(pipe: Any) -> Pictures:
        return notes_loop(parts_of(pipe), prompts, seeds, steps, guidance)

    settings = {"num_inference_steps": steps, "guidance_scale": guidance}
    few, fewer = max(1, round(0.4 * steps)), max(1, round(0.2 * steps))
    yield Group(fresh, {NOTES: by_the_notes})
    yield Group(
        partial(optimised, whole=True),
        {
            "compiled whole, fp16": drawn,
            f"compiled whole, fp16, {few} steps": partial(drawn, steps=few),
            "compiled whole, fp16, guided=0.7": partial(drawn, guided=0.7),
            f"compiled whole, fp16, {few} steps, guided=0.7": partial(drawn, steps=few, guided=0.7),
            f"compiled whole, fp16, {fewer} steps, guided=0.7": partial(
                drawn, steps=fewer, guided=0.7
            ),
        },
    )
    yield Group(fresh, {"Diffusers' pipeline": lambda pipe: stock(pipe, prompts, seeds, settings)})
    yield Group(
        partial(fresh, torch.float16),
        {"Diffusers' pipeline, fp16": lambda pipe: stock(pipe, prompts, seeds, settings)},
    )
    yield Group(
        fresh,
        {"our plain loop": lambda p: text_to_image(parts_of(p), prompts, seeds=seeds, **settings)},
    )
    yield Group(
        optimised,
        {"optimised, fp16": drawn, "optimised, fp16, guided=0.7": partial(drawn, guided=0.7)},
    )
    yield Group(partial(optimised, torch.bfloat16), {"optimised, bf16": drawn})


def sd14(options: argparse.Namespace) -> None:
    """Stable Diffusion 1.4's shapes, random weights: each way, one after another."""
    on_gpu = torch.cuda.is_available()
    size: Size = options.size
    steps, rounds = (50, 3) if size == "full" else (4, 1)
    clock = gpu_clock if on_gpu else time.perf_counter
    base = networks("sd14" if size == "full" else "sd14-small", "cuda" if on_gpu else "cpu")
    for count in (1, 4):
        recorder = Recorder(
            f"sampling-sd14-{count}",
            on_gpu=on_gpu,
            precision="float32, where the case does not say",
            settings={
                "pictures": count,
                "scheduler": "DPM++ 2M Karras",
                "steps": steps,
                "guidance": 7.5,
                "side": 512 if size == "full" else 64,
                "weights": "random",
            },
            size=size,
            folder=options.results,
        )
        print(f"\nStable Diffusion 1.4's shapes, {count} at once, {steps} steps:", flush=True)
        reference: Pictures = []
        for group in groups_of_sd14(base, size, count, steps):
            if count > 1 and not {NOTES, "optimised, fp16"} & group.cases.keys():
                continue  # several at once: the notes' loop, and the default
            # The notes' pictures are needed for likeness, also when their time is known.
            wanted = any(name not in recorder for name in group.cases) or not reference
            if not wanted or options.limit.over():
                continue
            held = torch.cuda.memory_allocated() if on_gpu else 0
            try:
                began = clock()
                pipe = group.make()
                made = clock() - began
                if on_gpu:
                    # Once for a group: a graph's memory is counted when it is made, not when it is
                    # played again.
                    torch.cuda.reset_peak_memory_stats()
                for name, case in group.cases.items():
                    if options.limit.over():
                        break
                    pictures, figures = _timed(partial(case, pipe), rounds, clock, options.limit)
                    reference = reference or pictures
                    if on_gpu:
                        figures["gpu_mib"] = (torch.cuda.max_memory_allocated() - held) / MIB
                    figures["preparing_seconds"] = made
                    if name != NOTES:
                        figures["psnr_db"] = likeness(reference, pictures)
                    recorder.note(name, **figures)
                    print(f"{name:44} {figures['seconds'].median:7.3f} s", flush=True)
            except Exception as error:  # out of memory, no compiler: the other ways may work
                traceback.print_exc()
                for name in group.cases:
                    if name not in recorder:
                        recorder.note(name, failed=f"{type(error).__name__}: {error}"[:200])
            pipe = pictures = None
            # Else what was compiled for one way counts against the next.
            torch.compiler.reset()
            gc.collect()
            if on_gpu:
                torch.cuda.empty_cache()
        if not options.limit.over():
            recorder.finish()


def _timed(
    case: Callable[[], Pictures], rounds: int, clock: Callable[[], float], limit: TimeLimit
) -> tuple[Pictures, dict[str, Any]]:
    """The first call, which may compile, and some rounds; the last ones only while there is time.

    Returns:
        The pictures, and the figures: on a CPU with the memory beside the weights.
    """
    began = clock()
    pictures = case()
    figures: dict[str, Any] = {"first_seconds": clock() - began}
    seconds: list[float] = []
    while len(seconds) < rounds and not (seconds and limit.over()):
        began = clock()
        case()
        seconds.append(clock() - began)
    figures["seconds"] = times(seconds)
    if not torch.cuda.is_available():
        figures["memory_mib"] = peak_memory(case, on_gpu=False) / MIB
    return pictures, figures


def likeness(first: Pictures, second: Pictures) -> float:
    """PSNR of the two that differ most, in dB; 99 where none differ."""
    return min(min(psnr(*pair), 99.0) for pair in zip(first, second, strict=True))


def rightly(pictures: Pictures, things: Sequence[str], colours: Sequence[str]) -> int:
    """How many of the pictures the classifier names as they were asked for."""
    return sum(
        seen.objects == (thing,) and seen.background == colour
        for seen, thing, colour in zip(recognise(pictures), things, colours, strict=True)
    )


def equal(options: argparse.Namespace) -> None:
    """The zoo's model, which was trained: what fewer steps and less guidance do to its pictures.

    The yardstick is the notes' way, 50 steps: as many pictures named rightly are equal quality.
    """
    on_gpu, small = torch.cuda.is_available(), options.size == "small"
    count, steps, last = (4, 4, 6) if small else (48, 50, LAST)
    recorder = Recorder(
        "equal-quality",
        on_gpu=on_gpu,
        precision="float32",
        settings={"pictures": count, "scheduler": "DPM++ 2M Karras", "guidance": 4.0},
        size=options.size,
        folder=options.results,
    )
    world = subset("stable-diffusion").objects
    things = [world[n % len(world)] for n in range(count)]
    colours = [list(backgrounds())[n % len(backgrounds())] for n in range(count)]
    prompts = [f"a {a} on a {b} background" for a, b in zip(things, colours, strict=True)]
    seeds = list(range(100, 100 + count))
    pipe = assemble(zoo_parts()).to("cuda" if on_gpu else "cpu")
    pipe.scheduler = make_scheduler("DPM++ 2M Karras", pipe.scheduler)
    few, fewer = max(1, round(0.4 * steps)), max(1, round(0.2 * steps))
    cases = {
        NOTES: (steps, 1.0),
        f"{steps} steps, guided=0.7": (steps, 0.7),
        f"{few} steps": (few, 1.0),
        f"{few} steps, guided=0.7": (few, 0.7),
        f"{fewer} steps, guided=0.7": (fewer, 0.7),
    }
    end = draw(pipe, prompts, seeds=seeds, num_inference_steps=last, guidance_scale=4.0)
    print(f"\nof {count} pictures named rightly, and PSNR to the pictures of {last} steps:")
    for name, (number, guided) in cases.items():
        if name in recorder or options.limit.over():
            continue
        if name == NOTES:
            pictures = notes_loop(parts_of(pipe), prompts, seeds, number, 4.0)
        else:
            settings = {"num_inference_steps": number, "guidance_scale": 4.0, "guided": guided}
            pictures = draw(pipe, prompts, seeds=seeds, **settings)
        right = rightly(pictures, things, colours)
        near = statistics.mean(min(psnr(*pair), 99.0) for pair in zip(pictures, end, strict=True))
        recorder.note(name, right=right, of=count, psnr_db=near)
        print(f"{name:24} {right:4} of {count} {near:6.1f} dB", flush=True)
    if not options.limit.over():
        recorder.finish()


def schedulers(options: argparse.Namespace) -> None:
    """For each scheduler and number of steps, the verdicts and the way to 200 steps."""
    small = options.size == "small"
    count, numbers, last = (2, (2, 3), 4) if small else (8, STEPS, LAST)
    names = ["UniPC"] if small else scheduler_names()
    things, colours = subset("stable-diffusion").objects[:count], list(backgrounds())[:count]
    prompts = [f"a {a} on a {b} background" for a, b in zip(things, colours, strict=True)]
    seeds = list(range(100, 100 + count))
    recorder = Recorder(
        "schedulers-zoo",
        on_gpu=False,
        precision="float32",
        settings={"pictures": count, "guidance": 4.0, "last": last},
        size=options.size,
        folder=options.results,
    )
    pipe = assemble(zoo_parts())
    end = draw(pipe, prompts, seeds=seeds, num_inference_steps=last, guidance_scale=4.0)
    print(
        f"\n{count} prompts, guidance 4: pictures that the classifier names rightly, and PSNR to "
        f"the picture of {last} steps of UniPC (mean, dB; DDPM leads elsewhere)"
    )
    for name in names:
        if name in recorder or options.limit.over():
            continue
        drawn = sweep(
            pipe,
            prompts,
            {"scheduler": [name], "num_inference_steps": numbers},
            seeds=seeds,
            guidance_scale=4.0,
        )
        figures: dict[str, Any] = {}
        for place, number in enumerate(numbers):
            some = drawn[place * count : (place + 1) * count]
            pictures = [sample.picture for sample in some]
            near = statistics.mean(psnr(*pair) for pair in zip(pictures, end, strict=True))
            figures[f"right_{number}"] = rightly(pictures, things, colours)
            figures[f"psnr_db_{number}"] = near
        more = {sample.unet_calls - sample.settings["num_inference_steps"] for sample in drawn}
        calls = " or ".join(f"steps + {extra}" if extra else "steps" for extra in sorted(more))
        recorder.note(name, calls=calls, **figures)
        print(name, calls, figures, flush=True)
    if not options.limit.over():
        recorder.finish()


def means(options: argparse.Namespace) -> None:
    """PyTorch's means on a CPU, one left out at a time: a call of the UNet; printed only."""
    torch.set_num_threads(1)
    stock = zoo_parts().unet
    networks = {"float32, no means": stock}
    for left_out in (None, *MEANS):
        unet = copy.deepcopy(stock)
        products_in_bfloat16(unet)
        for one in MEANS:
            if one is not left_out:
                one.use(unet)
        networks[f"without {left_out.name}" if left_out else "all means"] = unet
    for count in (2, 16):
        given = torch.randn(count, 4, 16, 16), torch.tensor(500), torch.randn(count, 77, 96)
        cases = {name: partial(_five_calls, unet, *given) for name, unet in networks.items()}
        print(f"\n{count} latents, five calls:")
        side_by_side(cases, 1 if options.size == "small" else 12, time.process_time)


@torch.no_grad()
def _five_calls(unet: Any, noise: torch.Tensor, t: torch.Tensor, text: torch.Tensor) -> None:
    for _ in range(5):  # in a row, as a pipeline does: weights then lie in the processor's cache
        unet(noise, t, encoder_hidden_states=text)


def zoo_parts() -> Parts:
    """The zoo's model with UniPC, in float32, on the CPU."""
    parts = load_parts(folder("stable-diffusion"))
    unipc = make_scheduler("UniPC", parts.scheduler)
    return Parts(**{**vars(parts), "scheduler": unipc})


PARTS = {"zoo": zoo, "means": means, "steps": schedulers, "sd14": sd14, "equal": equal}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts that the command line names."""
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--compile", action="store_true", help="also compile the UNet on the CPU")
    parser.add_argument("--minutes", type=float, help="begin nothing new after so many")
    parser.add_argument("--size", choices=("full", "small"), default="full", help="small: a trial")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder; default: %(default)s"
    )
    options = parser.parse_args(arguments)
    options.limit = TimeLimit(options.minutes)
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}: choose of {', '.join(PARTS)}")
    if "sd14" in options.parts and options.size == "full" and not on_gpu:
        parser.error("Stable Diffusion 1.4 at full size needs a GPU: --size small tries the code")
    for name in options.parts or (["sd14", "equal"] if on_gpu else ["zoo", "steps"]):
        PARTS[name](options)


if __name__ == "__main__":
    main()
