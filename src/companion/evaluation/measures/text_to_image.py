"""How good text to image is: is on the picture what the prompt says?"""

from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import UniPCMultistepScheduler
from PIL import Image
from tqdm.auto import tqdm

from companion.door.labels import Origin
from companion.figures import save_enlarged, sheet
from companion.metrics import percent
from companion.recipes.recipe import Recipe
from companion.scenes import HELD_OUT, Subset, backgrounds, caption, scene, subset
from companion.zoo.recognise import recognise

from ..card import Figures
from ..drawing import generators, load


def one_object_prompts(world: Subset) -> Iterator[tuple[str, str, str]]:
    """Prompt, object and background, for every pair of the two."""
    for name in world.objects:
        for colour in backgrounds():
            yield caption([name], background=colour), name, colour


def two_object_prompts(world: Subset, count: int) -> Iterator[tuple[str, set[str], str]]:
    """Prompt, objects and background of held-out two-object scenes."""
    found, seed = 0, HELD_OUT
    while found < count:
        seed += 1
        made = scene(seed, subset=world)
        if len(made.objects) == 2 and made.background in made.caption:
            found += 1
            yield made.caption, {thing.name for thing in made.objects}, made.background


def measure(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    """What the classifier names on pictures of prompts with one object and with two."""
    pipeline = load(home, device)
    # Pure noise belongs to the last timestep; "leading", from the file, would begin below it.
    pipeline.scheduler = UniPCMultistepScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="linspace"
    )
    scale = recipe.settings["guidance_scale"]
    world = subset(recipe.subset)

    def draw(prompts: list[str], first_seed: int) -> list[Image.Image]:
        images: list[Image.Image] = []
        for start in tqdm(range(0, len(prompts), 16), desc="prompts", unit="batch"):
            part = prompts[start : start + 16]
            images += pipeline(
                part,
                num_inference_steps=25,
                guidance_scale=scale,
                generator=generators(first_seed + start, len(part)),
            ).images
        return images

    single = list(one_object_prompts(world)) * 2
    images = draw([prompt for prompt, _, _ in single], 0)
    drawn = sheet(images[: len(single) // 2], len(backgrounds()))
    save_enlarged(drawn, pictures / "samples.png", 1, Origin.DRAWN)
    seen = recognise(images)
    rows = [
        (name in what.objects, what.objects == (name,), colour == what.background, (name, colour))
        for (_, name, colour), what in zip(single, seen, strict=True)
    ]
    unseen = [row for row in rows if row[3] in world.held_out]
    double = list(two_object_prompts(world, 200))
    images = draw([prompt for prompt, _, _ in double], 10_000)
    drawn = sheet(images[:64], 8)
    save_enlarged(drawn, pictures / "samples-two-objects.png", 1, Origin.DRAWN)
    pairs = [
        (names <= set(what.objects), colour == what.background)
        for (_, names, colour), what in zip(double, recognise(images), strict=True)
    ]
    return {
        "steps (UniPC)": 25,
        "guidance scale": scale,
        "one-object prompts": len(rows),
        "one object: named by the classifier, %": percent(row[0] for row in rows),
        "one object: that and nothing else, %": percent(row[1] for row in rows),
        "one object: background right, %": percent(row[2] for row in rows),
        "pairs of object and background never trained on": len(unseen),
        "never trained on: object named, %": percent(row[0] for row in unseen),
        "never trained on: background right, %": percent(row[2] for row in unseen),
        "two-object prompts": len(pairs),
        "two objects: both named, %": percent(row[0] for row in pairs),
        "two objects: background right, %": percent(row[1] for row in pairs),
    }
