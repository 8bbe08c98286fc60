"""Where does joint attention lie, in which direction, beside a UNet's? Mean IoU with known masks.

    python benchmarks/joint_attention.py               # prints tables; what is done stays in runs/
    python benchmarks/joint_attention.py --minutes 3   # stops after that; run again to go on
    python benchmarks/joint_attention.py --write       # also into the package, for chapter 7

The zoo's `flow`, on the scenes and prompts of `attention.py`, traced from text to picture, from
picture to text and from picture to picture. Shares are taken as they are (of all keys), among the
direction's sources alone, and among the prompt's words. Between places of the picture there are no
words: a place is chosen where the word's map peaks, and in the middle of the mask. The UNet's own
layers from picture to picture are asked in the same way. At last words are taken away: which of a
prompt's vectors make the picture?
"""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline
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
from PIL import Image
from scipy import ndimage
from transformers import logging

from companion.attention import HeatMaps, attribute, trace
from companion.attention.agreement import JOINT
from companion.attention.heat_map import WordHeatMap
from companion.evaluation.text_to_pictures import one_object_prompts
from companion.scenes import HELD_OUT, Scene, scene, subset
from companion.zoo import folder, recognise
from companion.zoo.segmentation import object_masks

CACHE = Path("runs/joint-attention")
REAL, DRAWN, CHUNK = 500, 500, 25
STEPS, GUIDANCE = 20, 4.0
LOOKED_AT = [0, 4, 9, 14, 19]
EMPTY = 0  # tokens in the place of T5's that say nothing
WORDS = ("text to picture", "picture to text")
KINDS = {"colour": None, "“background”": ("background",), "article": ("a", "an"), "“on”": ("on",)}


def load() -> tuple[StableDiffusion3Pipeline, StableDiffusionPipeline]:
    """The zoo's flow, and its Stable Diffusion."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bar()
    flow = StableDiffusion3Pipeline.from_pretrained(
        folder("flow"), text_encoder_3=None, tokenizer_3=None
    )
    flow.set_progress_bar_config(disable=True)
    return flow, StableDiffusionPipeline.from_pretrained(folder(WORLD))


def group_of(kind: str, objects: int) -> str:
    """Such as "real, one object"."""
    return f"{kind}, {'one object' if objects == 1 else 'two objects'}"


def selections(maps: HeatMaps, steps: list[int]) -> Iterator[tuple[str, dict[str, int]]]:
    """What is added up into a map: everything, one step, one layer."""
    yield "all", {}
    if "step" in maps.by:
        for step in steps:
            yield f"t = {maps.timesteps[step]:.0f}", {"step_idx": step}
    for number, layer in enumerate(maps.layers):
        name = layer.removeprefix("transformer_blocks.").replace("_blocks.", " ")
        yield (
            f"layer {name.replace('attentions.', '').split('.transformer')[0]}",
            {"layer_idx": number},
        )


def stretched(heat: WordHeatMap, picture: Image.Image) -> np.ndarray:
    """The map in the picture's size, from 0 to 1."""
    found: np.ndarray = heat.expand_as(picture).numpy()
    return found


def of_words(
    maps: HeatMaps,
    image_idx: int,
    picture: Image.Image,
    names: list[str],
    masks: np.ndarray,
    steps: list[int],
    suffix: str = "",
) -> Iterator[tuple[str, list[float]]]:
    """Scores of the maps of words."""
    for method, chosen in selections(maps, steps):
        heats = maps.compute_global_heat_map(image_idx=image_idx, **chosen)
        found = [stretched(heats.compute_word_heat_map(name), picture) for name in names]
        for n, (heat, mask) in enumerate(zip(found, masks, strict=True)):
            name = f"{maps.direction}{suffix}: {method}"
            yield name, at_each(heat, mask)
            if method.startswith("t ="):
                continue
            peak = np.unravel_index(heat.argmax(), heat.shape)
            yield f"{name}, peak inside", [float(mask[peak])]
            if len(masks) == 2:
                own, other = heat[mask].mean(), heat[masks[1 - n]].mean()
                yield f"{name}, points at its own object", [float(own > other)]


def of_places(
    maps: HeatMaps,
    image_idx: int,
    picture: Image.Image,
    peaks: list[tuple[int, int]],
    masks: np.ndarray,
    who: str = "",
) -> Iterator[tuple[str, list[float]]]:
    """Scores of the maps of places: where the word's map peaks, and in the middle of the mask."""
    scale = maps.height / SIZE
    for peak, mask in zip(peaks, masks, strict=True):
        deep = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        middle = np.unravel_index(deep.argmax(), mask.shape)
        for method, chosen in selections(maps, []):
            for start, place in (("from the peak", peak), ("from the middle", middle)):
                row, column = (int(at * scale) for at in place)
                heat = maps.compute_place_heat_map((row, column), image_idx=image_idx, **chosen)
                name = f"{who}{maps.direction}, {start}: {method}"
                yield name, at_each(stretched(heat, picture), mask)


def peaks_of(
    maps: HeatMaps, image_idx: int, picture: Image.Image, names: list[str]
) -> list[tuple[int, int]]:
    """Where in the picture each word's map is highest."""
    heats = maps.compute_global_heat_map(image_idx=image_idx)
    found = []
    for name in names:
        heat = stretched(heats.compute_word_heat_map(name), picture)
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        found.append((int(row), int(column)))
    return found


def real(pipe: StableDiffusion3Pipeline, start: int, stop: int) -> list[Row]:
    """Scenes that the model has not seen, noised, in every direction."""
    numbers = range(start, stop)
    scenes = [scene(HELD_OUT + number, subset=WORLD, size=SIZE) for number in numbers]
    rows: list[Row] = []
    with ExitStack() as traces:  # the model is called once for all of them
        enter, keeps = traces.enter_context, ("step", "layer")
        words = {d: enter(trace(pipe, keeps, direction=d)) for d in WORDS}
        among = {d: enter(trace(pipe, ("layer",), direction=d, among_sources=True)) for d in WORDS}
        within = look(pipe, scenes, numbers, direction="picture to picture")
    steps = list(range(len(TIMESTEPS)))
    for i, (number, shown) in enumerate(zip(numbers, scenes, strict=True)):
        group = group_of("real", len(shown.objects))
        names = [thing.name for thing in shown.objects]
        given = i, shown.image, names, shown.masks
        found = [*((name, score) for name, _, score in baselines(shown.masks))]
        for direction in WORDS:
            found += of_words(words[direction], *given, steps)
            found += of_words(among[direction], *given, [], ", among sources")
            shares = words[direction].compute_global_heat_map(image_idx=i, normalize=True)
            for name, mask in zip(names, shown.masks, strict=True):
                heat = stretched(shares.compute_word_heat_map(name), shown.image)
                found.append((f"{direction}, among words: all", at_each(heat, mask)))
        peaks = peaks_of(words["text to picture"], i, shown.image, names)
        found += of_places(within, i, shown.image, peaks, shown.masks)
        heats = words["text to picture"].compute_global_heat_map(image_idx=i)
        spoken = shown.caption.replace(",", "").split()
        for kind, options in KINDS.items():
            word = next((w for w in options or (shown.background,) if w in spoken), None)
            if word is not None:
                heat = stretched(heats.compute_word_heat_map(word), shown.image)
                found += [(f"word: {kind}", at_each(heat, mask)) for mask in shown.masks]
        rows += [(group, name, number, score) for name, score in found]
    return rows


def swapped(pipe: StableDiffusion3Pipeline, start: int, stop: int) -> list[Row]:
    """The same scenes, each with the caption of another that names none of its objects."""
    numbers = range(start, stop)
    scenes = [scene(HELD_OUT + number, subset=WORLD, size=SIZE) for number in numbers]
    others = [next_other(scenes, i) for i in range(len(scenes))]
    captions = [other.caption for other in others]
    rows: list[Row] = []
    with trace(pipe, ()) as to_picture:
        to_text = look(pipe, scenes, numbers, captions, (), direction="picture to text")
    for maps in (to_picture, to_text):
        for i, (number, shown) in enumerate(zip(numbers, scenes, strict=True)):
            heats = maps.compute_global_heat_map(image_idx=i)
            for thing, mask in zip(others[i].objects, shown.masks, strict=True):
                heat = stretched(heats.compute_word_heat_map(thing.name), shown.image)
                group = group_of("real", len(shown.objects))
                name = f"{maps.direction}: another scene's caption"
                rows.append((group, name, number, at_each(heat, mask)))
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


def look(
    pipe: Any,
    scenes: list[Scene],
    numbers: range,
    captions: list[str] | None = None,
    by: tuple[str, ...] = ("layer",),
    **given: Any,
) -> HeatMaps:
    """Trace noised scenes."""
    return attribute(
        pipe,
        [shown.image for shown in scenes],
        captions or [shown.caption for shown in scenes],
        TIMESTEPS,
        seeds=list(numbers),
        by=by,
        max_sequence_length=EMPTY,
        **given,
    )


def unet(pipe: StableDiffusionPipeline, start: int, stop: int) -> list[Row]:
    """The UNet's layers in which places look at places."""
    numbers = range(start, stop)
    scenes = [scene(HELD_OUT + number, subset=WORLD, size=SIZE) for number in numbers]
    with trace(pipe, ()) as words:
        within = look(pipe, scenes, numbers, direction="picture to picture")
    rows: list[Row] = []
    for i, (number, shown) in enumerate(zip(numbers, scenes, strict=True)):
        names = [thing.name for thing in shown.objects]
        peaks = peaks_of(words, i, shown.image, names)
        group = group_of("real", len(names))
        for name, score in of_places(within, i, shown.image, peaks, shown.masks, "UNet, "):
            rows.append((group, name, number, score))
    return rows


def drawn(pipe: StableDiffusion3Pipeline, start: int, stop: int) -> list[Row]:
    """Pictures that the model draws, traced while it does."""
    chosen = prompts(DRAWN)[start:stop]
    with (
        trace(pipe, ("step", "layer")) as to_picture,
        trace(pipe, ("step", "layer"), direction="picture to text") as to_text,
        trace(pipe, ("layer",), direction="picture to picture") as within,
    ):
        pictures = pipe(
            [text for text, _, _ in chosen],
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            max_sequence_length=EMPTY,
            generator=[torch.Generator().manual_seed(seed) for _, _, seed in chosen],
        ).images
    rows: list[Row] = []
    for i, (picture, (_, names, _)) in enumerate(zip(pictures, chosen, strict=True)):
        group = group_of("drawn", len(names))
        masks = object_masks(picture, names)
        rows.append((group, "left out", start + i, [float(masks is None)]))
        if masks is None:
            continue
        found = [*((name, score) for name, _, score in baselines(masks))]
        for maps in (to_picture, to_text):
            found += of_words(maps, i, picture, names, masks, LOOKED_AT)
        found += of_places(within, i, picture, peaks_of(to_picture, i, picture, names), masks)
        rows += [(group, name, start + i, score) for name, score in found]
    return rows


def taken(pipe: StableDiffusion3Pipeline, start: int, stop: int) -> list[Row]:
    """Pictures for some of a prompt's vectors, and the empty prompt's in place of the others."""
    asked = list(enumerate(one_object_prompts(subset(WORLD))))  # seed, (prompt, object, background)
    chosen = asked[start:stop]

    def encode(texts: list[str]) -> Any:
        vectors, _, pooled, _ = pipe.encode_prompt(
            texts, None, None, do_classifier_free_guidance=False, max_sequence_length=EMPTY
        )
        return vectors, pooled

    ours, our_pooled = encode([text for _, (text, _, _) in chosen])
    empty, empty_pooled = encode([""] * len(chosen))
    words = torch.zeros(ours.shape[:2], dtype=torch.bool)
    for i, (_, (text, _, _)) in enumerate(chosen):
        words[i, 1 : 1 + len(pipe.tokenizer.tokenize(text))] = True
    rest = ~words
    nothing = torch.zeros_like(words)
    rows: list[Row] = []
    for method, kept, pooled in (
        ("all", words | rest, our_pooled),
        ("without the words", rest, our_pooled),
        ("without the pooled vector", words | rest, empty_pooled),
        ("the words alone", words, empty_pooled),
        ("end and padding alone", rest, empty_pooled),
        ("the pooled vector alone", nothing, our_pooled),
    ):
        pictures = pipe(
            prompt_embeds=torch.where(kept[..., None], ours, empty),
            pooled_prompt_embeds=pooled,
            negative_prompt_embeds=empty,
            negative_pooled_prompt_embeds=empty_pooled,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=[torch.Generator().manual_seed(seed) for seed, _ in chosen],
        ).images
        for (seed, (_, name, colour)), seen in zip(chosen, recognise(pictures), strict=True):
            rows.append(("taken away", f"{method}: object", seed, [float(name in seen.objects)]))
            right = float(colour == seen.background)
            rows.append(("taken away", f"{method}: background", seed, [right]))
    return rows


def main() -> int:
    """Measure, print, and perhaps write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, help="stop after so many; run again to go on")
    parser.add_argument("--write", action="store_true", help=f"also into {JOINT.name}")
    options = parser.parse_args()
    flow, sd = load()
    parts = {
        "real": (REAL, partial(real, flow)),
        "taken": (len(list(one_object_prompts(subset(WORLD)))), partial(taken, flow)),
        "unet": (REAL, partial(unet, sd)),
        "drawn": (DRAWN, partial(drawn, flow)),
        "swapped": (REAL, partial(swapped, flow)),
    }
    rows = collect(parts, CACHE, CHUNK, options.minutes)
    if rows is None:
        return 0
    table = summarise(rows)
    show(table)
    if options.write:
        found = {
            "command": "python benchmarks/joint_attention.py --write",
            "pictures": {"real": REAL, "drawn": DRAWN},
            "thresholds": THRESHOLDS,
            "groups": table,
        }
        JOINT.write_text(as_text(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
