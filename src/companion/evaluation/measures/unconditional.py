"""How good the unconditional model is, and whether it learned its pictures by heart."""

from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DModel
from tqdm.auto import tqdm

from companion.denoise import ddim
from companion.door.labels import Origin
from companion.figures import save_enlarged, tile
from companion.metrics import kid, nearest, percent
from companion.recipes.pictures import scene_batch
from companion.recipes.recipe import Recipe
from companion.scenes import HELD_OUT, subset
from companion.zoo.recognise import as_batch, recognise, scene_features

from ..card import Figures


def measure(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    """KID, what the classifier names, and how far from the scenes that it learned from."""
    unet = UNet2DModel.from_pretrained(home, use_safetensors=True).to(device).eval()
    size, count = unet.config.sample_size, 1000
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((count, 3, size, size), generator=generator)
    scheduler = DDPMScheduler.from_pretrained(home)
    drawn = torch.cat(
        [
            ddim(unet, part, scheduler=scheduler, num_steps=50).cpu()
            for part in tqdm(noise.split(100), desc="pictures", unit="batch")
        ]
    )
    real, _ = scene_batch(range(HELD_OUT, HELD_OUT + count), recipe.subset, size)
    others, _ = scene_batch(range(HELD_OUT + count, HELD_OUT + 2 * count), recipe.subset, size)
    features = {
        name: scene_features(as_batch(images))
        for name, images in (("drawn", drawn), ("real", real), ("other", others))
    }
    features["noise"] = scene_features(as_batch(noise))
    world = subset(recipe.subset)
    seen = recognise(drawn)
    # Seeds of training begin at 0: these are scenes that the model has learned from.
    trained, _ = scene_batch(range(20_000), recipe.subset, size)
    to_drawn, found = nearest(drawn[:200], trained, 3)
    to_real, _ = nearest(real[:200], trained)
    rows = [torch.cat([drawn[n : n + 1], trained[found[n]]]) for n in range(16)]
    save_enlarged(tile(torch.cat(rows), 16), pictures / "neighbours.png", 2)
    save_enlarged(tile(drawn[:64], 16), pictures / "samples.png", 2, Origin.DRAWN)
    return {
        "pictures drawn (DDIM, 50 steps)": count,
        "KID to held-out scenes": kid(features["drawn"], features["real"]),
        "KID of two sets of held-out scenes": kid(features["other"], features["real"]),
        "KID of noise": kid(features["noise"], features["real"]),
        "one of its objects named, %": percent(
            len(what.objects) == 1 and what.objects[0] in world.objects for what in seen
        ),
        "distance to the nearest of 20,000 training scenes, median": to_drawn[:, 0].median().item(),
        "the same for held-out scenes, median": to_real.median().item(),
    }
