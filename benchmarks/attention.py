"""Do attention maps lie where the objects are? Mean IoU over 1,000 pictures of known objects.

    python benchmarks/attention.py               # prints the tables; what is done stays in runs/
    python benchmarks/attention.py --minutes 3   # stops after that; run again to go on
    python benchmarks/attention.py --write       # also into the package, where chapter 6 reads it

Real scenes come with exact masks; they are noised, and the UNet looks once at each of several
timesteps. Pictures of the zoo's Stable Diffusion have plain backgrounds; their objects are found by
colour and named by the classifier, and where that leaves a doubt, the picture is counted and left
out. daam 0.2.0 draws each of those pictures anew, one at a time.
"""

import argparse
import random
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler
from diffusers.utils.logging import disable_progress_bar
from lib.agreement import (
    SIZE,
    THRESHOLDS,
    TIMESTEPS,
    WORLD,
    Row,
    as_text,
    at_each,
    baselines,
    collect,
    prompts,
    show,
    summarise,
)
from transformers import logging

from companion.attention import GlobalHeatMap, HeatMaps, attribute, trace
from companion.attention.agreement import TABLE
from companion.scenes import HELD_OUT, Scene, scene
from companion.zoo import folder
from companion.zoo.segmentation import object_masks

CACHE = Path("runs/attention")
# mIoU in the abstract of arXiv:2210.04885v3: Stable Diffusion's pictures for COCO's captions, and
# for an open vocabulary. The truth there was drawn by people, on pictures of everyday scenes.
PUBLISHED = {"DAAM's paper, COCO captions": 0.610, "DAAM's paper, open vocabulary": 0.515}
STEPS, GUIDANCE = 25, 4.0  # as the zoo's card
LOOKED_AT = [0, 4, 8, 12, 16, 20, 24]
PICTURES, CHUNK = 500, 25


def load() -> StableDiffusionPipeline:
    """The zoo's Stable Diffusion with the scheduler of its card."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bar()
    pipe = StableDiffusionPipeline.from_pretrained(folder(WORLD))
    pipe.scheduler = UniPCMultistepScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="linspace"
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def score(heats: GlobalHeatMap, word: str, picture: object, mask: np.ndarray) -> list[float]:
    """A word's IoU with a mask at each threshold."""
    return at_each(heats.compute_word_heat_map(word).expand_as(picture).numpy(), mask)


def selections(maps: HeatMaps, steps: Sequence[int], name: str) -> Iterator[tuple[str, dict]]:
    """What is added up into a map: everything, one step, one size, one layer."""
    yield "all", {}
    for step in steps:
        yield f"{name} {maps.timesteps[step]:.0f}", {"step_idx": step}
    for factor in maps.factors():
        yield f"size {maps.height // factor}", {"factors": {factor}}
    for number, layer in enumerate(maps.layers):
        block, index, rest = layer.split(".", 2)
        yield f"layer {block.split('_')[0]} {index}.{rest.split('.')[1]}", {"layer_idx": number}


def lift(heats: GlobalHeatMap, word: str, picture: object, mask: np.ndarray) -> float:
    """How many times as much attention a pixel of the mask pays to a word as any pixel does."""
    heat = heats.compute_word_heat_map(word).expand_as(picture, absolute=True).numpy()
    return float(heat[mask].mean() / heat.mean())


def words_of(shown: Scene) -> Iterator[tuple[str, str]]:
    """The kinds of words in a caption that name no object."""
    words = shown.caption.replace(",", "").split()
    for kind, options in {
        "colour": (shown.background,),
        "“background”": ("background",),
        "article": ("a", "an"),
        "“on”": ("on",),
        "relation": ("above", "below", "left", "right", "next", "and"),
    }.items():
        for option in options:
            if option in words:
                yield kind, option
                break


def real(pipe: StableDiffusionPipeline, start: int, stop: int) -> list[Row]:
    """Scenes that the model has not seen, noised; with their captions, and with wrong ones."""
    numbers = range(start, stop)
    scenes = [scene(HELD_OUT + number, subset=WORLD, size=SIZE) for number in numbers]
    pictures = [shown.image for shown in scenes]
    captions = [shown.caption for shown in scenes]
    maps = attribute(pipe, pictures, captions, TIMESTEPS, seeds=list(numbers), by=("step", "layer"))
    rows: list[Row] = []
    for i, (number, shown) in enumerate(zip(numbers, scenes, strict=True)):
        group = "real, one object" if len(shown.objects) == 1 else "real, two objects"
        for method, chosen in selections(maps, range(len(TIMESTEPS)), "t ="):
            heats = maps.compute_global_heat_map(image_idx=i, **chosen)
            for thing, mask in zip(shown.objects, shown.masks, strict=True):
                rows.append((group, method, number, score(heats, thing.name, shown.image, mask)))
        rows += [(group, name, number, found) for name, _, found in baselines(shown.masks)]
        heats = maps.compute_global_heat_map(image_idx=i)
        both = shown.masks.any(0)
        for kind, word in words_of(shown):
            for mask in shown.masks:
                rows.append((group, f"word: {kind}", number, score(heats, word, shown.image, mask)))
            rows.append((group, f"lift: {kind}", number, [lift(heats, word, shown.image, both)]))
        for n, (thing, mask) in enumerate(zip(shown.objects, shown.masks, strict=True)):
            value = lift(heats, thing.name, shown.image, mask)
            rows.append((group, "lift: its own object", number, [value]))
            if len(shown.objects) == 2:
                other = lift(heats, thing.name, shown.image, shown.masks[1 - n])
                rows.append((group, "lift: the other object", number, [other]))
                rows.append((group, "points at its own object", number, [float(value > other)]))
    return rows + controls(pipe, numbers, scenes)


def controls(pipe: StableDiffusionPipeline, numbers: range, scenes: list[Scene]) -> list[Row]:
    """The same scenes with their words in another order, and with another scene's caption."""
    order = random.Random(numbers.start)
    shuffled = [
        " ".join(order.sample(shown.caption.replace(",", "").split(), len(shown.caption.split())))
        for shown in scenes
    ]
    pictures = [shown.image for shown in scenes]
    others = [next_other(scenes, i) for i in range(len(scenes))]
    rows: list[Row] = []
    runs = {"words shuffled": shuffled, "another scene's caption": [o.caption for o in others]}
    for method, captions in runs.items():
        maps = attribute(pipe, pictures, captions, TIMESTEPS, seeds=list(numbers), by=("layer",))
        for i, (number, shown) in enumerate(zip(numbers, scenes, strict=True)):
            heats = maps.compute_global_heat_map(image_idx=i)
            group = "real, one object" if len(shown.objects) == 1 else "real, two objects"
            names = [thing.name for thing in (others[i] if "another" in method else shown).objects]
            for name, mask in zip(names, shown.masks, strict=True):
                rows.append((group, method, number, score(heats, name, shown.image, mask)))
    return rows


def next_other(scenes: list[Scene], i: int) -> Scene:
    """The next scene with as many objects and none of the same."""
    here = {thing.name for thing in scenes[i].objects}
    for step in range(1, len(scenes)):
        there = scenes[(i + step) % len(scenes)]
        names = {thing.name for thing in there.objects}
        if len(names) == len(here) and not names & here:
            return there
    raise ValueError("No two scenes of the chunk are different enough: make it larger.")


def generated(pipe: StableDiffusionPipeline, start: int, stop: int) -> list[Row]:
    """Pictures that the model draws, traced while it does."""
    chosen = prompts(PICTURES)[start:stop]
    with trace(pipe, by=("step", "layer")) as maps:
        pictures = pipe(
            [text for text, _, _ in chosen],
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=[torch.Generator().manual_seed(seed) for _, _, seed in chosen],
        ).images
    rows: list[Row] = []
    for i, (picture, (_, names, _)) in enumerate(zip(pictures, chosen, strict=True)):
        group = f"drawn, {'one object' if len(names) == 1 else 'two objects'}"
        masks = object_masks(picture, names)
        rows.append((group, "left out", start + i, [float(masks is None)]))
        if masks is None:
            continue
        rows += [(group, name, start + i, found) for name, _, found in baselines(masks)]
        for method, selected in selections(maps, LOOKED_AT, "t ="):
            heats = maps.compute_global_heat_map(image_idx=i, **selected)
            for name, mask in zip(names, masks, strict=True):
                rows.append((group, method, start + i, score(heats, name, picture, mask)))
    return rows


def by_daam(pipe: StableDiffusionPipeline, start: int, stop: int) -> list[Row]:
    """The same pictures, drawn and traced by daam."""
    import daam

    rows: list[Row] = []
    for number, (text, names, seed) in enumerate(prompts(PICTURES)[start:stop], start):
        with torch.no_grad(), daam.trace(pipe) as tracer:
            generator = torch.Generator().manual_seed(seed)
            options = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE}
            picture = pipe(text, generator=generator, **options).images[0]
            # daam takes a 64-pixel model for a 768-pixel one, so its factors are 6 and 12.
            heats = tracer.compute_global_heat_map(factors={6, 12})
        masks = object_masks(picture, names)
        if masks is None:
            continue
        group = f"drawn, {'one object' if len(names) == 1 else 'two objects'}"
        for name, mask in zip(names, masks, strict=True):
            rows.append((group, "daam", number, score(heats, name, picture, mask)))
    return rows


def main() -> int:
    """Measure, print, and perhaps write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, help="stop after so many; run again to go on")
    parser.add_argument("--write", action="store_true", help=f"also into {TABLE.name}")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)  # daam's autocast
    pipe = load()
    parts = {"real": real, "generated": generated, "daam": by_daam}
    each = {name: (PICTURES, partial(part, pipe)) for name, part in parts.items()}
    rows = collect(each, CACHE, CHUNK, options.minutes)
    if rows is None:
        return 0
    table = summarise(rows)
    show(table)
    for name, value in PUBLISHED.items():
        print(f"{name:38}{100 * value:8.1f}   (published, other pictures)")
    if options.write:
        found = {
            "command": "python benchmarks/attention.py --write",
            "pictures": {"real": PICTURES, "drawn": PICTURES},
            "thresholds": THRESHOLDS,
            "published": PUBLISHED,
            "groups": table,
        }
        TABLE.write_text(as_text(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
