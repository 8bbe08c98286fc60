"""When does a ControlNet begin to obey, and does its loss show it? From several seeds.

    python benchmarks/controlnet.py --minutes 20   # goes on where it was cut off
    python benchmarks/controlnet.py --write        # also the curves and the picture of chapter 8

Zhang et al. 2023, section 3.3, call it sudden convergence: a ControlNet draws good pictures from
the first step on, but does not look at its control until, within a few steps, it does. Here the
recipe `controlnet` is trained at a constant learning rate. Every so many steps it draws scenes that
it has not seen, always from the same noise, and the drawn objects are held against the masks that
it was given.
"""

import argparse
import csv
import json
import re
from dataclasses import replace
from datetime import date
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Any

import torch
from lib.results import device_name, versions
from lib.time_limit import TimeLimit
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from companion.evaluation.drawing import generators
from companion.figures import save_enlarged, sheet, to_pil
from companion.finetuning.convergence import CURVES
from companion.metrics import iou
from companion.recipes.recipe import Recipe, load_recipe
from companion.recipes.stored import read, store
from companion.recipes.tasks.controlnet import Controlnet, controls
from companion.recipes.trainer import make_run_folder, train
from companion.scenes import VALIDATION, Scene, scene
from companion.training.attention_on_cpu import attention_on_cpu
from companion.zoo.recognise import recognise
from companion.zoo.segmentation import foreground

EVERY = 20  # steps between two looks; the trainer logs its loss as often
PICTURES = 12  # drawn in each look: scenes with one object
LOSS_SCENES = 32  # of the held-out loss, always with the same noise and timesteps
STEPS = 8  # of UniPC
STEPS_OF = {3e-4: 240, 1e-4: 400}  # by learning rate
RUNS = [(rate, seed) for rate in STEPS_OF for seed in range(5)]
STORY = Path(__file__).parents[1] / "book" / "images" / "controlnet-convergence.png"
ROWS = 4  # of that picture


class Watched(Controlnet):
    """The zoo's task, which now and then looks at what the ControlNet draws and writes it down."""

    def __init__(self, recipe: Recipe, device: torch.device, folder: Path) -> None:
        super().__init__(recipe, device, folder)
        self.scenes = watched_scenes(recipe.subset)
        images, unseen = self.validation_scenes(LOSS_SCENES)
        with torch.no_grad():
            latents = self.vae.encode(images).latent_dist.mean
            self.unseen_words = self.words(self.tokens([one.caption for one in unseen]))
        self.noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
        # Evenly over all timesteps: no chance in how one look's loss differs from the next one's.
        self.timesteps = torch.linspace(0, 999, LOSS_SCENES).round().long()
        self.noisy = self.scheduler.add_noise(
            latents * self.vae.config.scaling_factor, self.noise, self.timesteps
        )
        self.unseen_controls = controls(unseen)[:, :1]

    def fill_cache(self, path: Path) -> None:
        """One for all runs, which so learn from the same scenes."""
        mine, self.recipe = self.recipe, replace(self.recipe, seed=0)
        super().fill_cache(self.folder.parent / path.name)
        self.recipe = mine

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        """The recipe's; before it a look, where it is time for one."""
        if step % EVERY == 0:
            self.look(step)
        return super().loss(step, generator)

    @torch.no_grad()
    def look(self, step: int) -> None:
        """Measure what these weights do, and write it down."""
        given = controls(self.scenes)
        masks = given[:, 0] > 0.5
        drawn = to_pil(self.draw_quickly(given))
        found = torch.stack([torch.from_numpy(foreground(picture)) for picture in drawn])
        named = [
            shown.objects[0].name in seen.objects
            for shown, seen in zip(self.scenes, recognise(drawn), strict=True)
        ]
        predicted = self.predict(
            self.noisy,
            self.timesteps,
            self.unseen_words,
            {"control": self.unseen_controls},
            torch.Generator(),
        )
        branch = self.controlnet
        figures = {
            "iou": iou(found, masks),
            "iou_of_others": torch.stack(
                [iou(found, masks.roll(n, 0)) for n in range(1, PICTURES)]
            ),
            "named": torch.tensor(named).float(),
            "held_out_loss": (predicted.float() - self.noise).square().mean(dim=(1, 2, 3)),
            "zero_out": spread(branch.controlnet_down_blocks, branch.controlnet_mid_block),
            "zero_in": spread(branch.controlnet_cond_embedding.conv_out),
        }
        sheet(drawn, PICTURES).save(self.folder / f"look-{step:05d}.png")
        store(self.folder / f"look-{step:05d}.safetensors", figures, {})

    def draw_quickly(self, given: Tensor) -> Tensor:
        """The scenes' captions with the control pictures, in few steps: (pictures, 3, 64, 64) in
        -1..1."""
        pipeline = self.pipeline()
        pipeline.set_progress_bar_config(disable=True)
        images = pipeline(
            [one.caption for one in self.scenes],
            image=given,
            num_inference_steps=STEPS,
            guidance_scale=self.recipe.settings["guidance_scale"],
            generator=generators(0, len(given)),
            output_type="pt",
        ).images
        return images.float() * 2 - 1

    def grid(self) -> Image.Image:
        """The last look, as precise as the others."""
        with torch.autocast("cpu", torch.bfloat16), attention_on_cpu():
            self.look(self.recipe.steps)
        return Image.open(self.folder / f"look-{self.recipe.steps:05d}.png")


def watched_scenes(subset: str) -> list[Scene]:
    """Those that the looks draw: no training sees them."""
    scenes = (scene(VALIDATION + n, subset=subset) for n in count())
    return list(islice((one for one in scenes if len(one.objects) == 1), PICTURES))


def spread(*layers: nn.Module) -> Tensor:
    """Root mean square of the layers' weights, (1,): 0 where they are as they began."""
    weights = [weight for layer in layers for weight in layer.parameters()]
    return parameters_to_vector(weights).square().mean().sqrt()[None]


def recipe_of(rate: float, seed: int) -> Recipe:
    """The zoo's, with a constant learning rate and no average, so that a step's weights are its
    own."""
    return replace(
        load_recipe("controlnet"),
        seed=seed,
        steps=STEPS_OF[rate],
        learning_rate=rate,
        warmup_steps=0,
        cooldown=0.0,
        ema_decay=0.0,
        sample_every=2 * STEPS_OF[rate],  # at the end alone
    )


def curves(folder: Path) -> dict[str, Any]:
    """What the looks of a run found, and the mean loss of the steps before each."""
    paths = sorted(folder.glob("look-*.safetensors"))
    looks = [read(path)[0] for path in paths]
    with (folder / "log.csv").open(newline="") as file:
        losses = {int(row["step"]): float(row["loss"]) for row in csv.DictReader(file)}
    steps = [int(path.stem.removeprefix("look-")) for path in paths]
    means = ("iou_of_others", "named", "held_out_loss", "zero_out", "zero_in")
    return {
        "step": steps,
        "iou": [[round(one, 3) for one in look["iou"].tolist()] for look in looks],
        **{name: [round(look[name].mean().item(), 5) for look in looks] for name in means},
        "training_loss": [losses.get(step) for step in steps],
    }


def jump(found: dict[str, Any]) -> tuple[int, float]:
    """Between which step and the next look the mean IoU rises most, and by how much."""
    means = [sum(look) / len(look) for look in found["iou"]]
    rises = [after - before for before, after in pairwise(means)]
    largest = max(range(len(rises)), key=rises.__getitem__)
    return found["step"][largest], rises[largest]


def story(folder: Path) -> Image.Image:
    """The scenes of a run whose objects lay worst at first, a row for each: mask, what each look
    drew, the scene itself."""
    paths = sorted(folder.glob("look-*.safetensors"))
    looks = [Image.open(path.with_suffix(".png")) for path in paths]
    scenes = watched_scenes(load_recipe("controlnet").subset)
    worst = read(paths[0])[0]["iou"].argsort()[:ROWS].tolist()
    pictures = []
    for number in worst:
        box = (64 * number, 0, 64 * number + 64, 64)
        mask = to_pil(controls([scenes[number]]) * 2 - 1)[0]
        pictures += [mask, *(look.crop(box) for look in looks), scenes[number].image]
    return sheet(pictures, len(looks) + 2)


def main() -> int:
    """Train and look; perhaps write what was found where the book reads it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, help="stop after so many; run again to go on")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--write", action="store_true", help=f"also into {CURVES.name}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    limit = TimeLimit(options.minutes)
    found: dict[str, dict[str, Any]] = {}
    for rate, seed in RUNS:
        folder = options.runs / f"controlnet-{rate:g}-{seed}"
        make_run_folder(folder)
        if not (folder / f"look-{STEPS_OF[rate]:05d}.safetensors").exists():
            if limit.over():
                continue
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                task = Watched(recipe_of(rate, seed), torch.device("cpu"), folder)
            minutes = None if options.minutes is None else limit.left() / 60
            if train(task, minutes=minutes) < task.recipe.steps:
                continue
        found.setdefault(f"{rate:g}", {})[str(seed)] = curves(folder)
        step, rise = jump(found[f"{rate:g}"][str(seed)])
        print(f"learning rate {rate:g}, seed {seed}: +{rise:.3f} from step {step} on")
    if options.write:
        recipe = load_recipe("controlnet")
        told = {
            "command": "python benchmarks/controlnet.py --write",
            "measured_on": date.today().isoformat(),
            "machine": device_name(on_gpu=False),
            "versions": versions(),
            "settings": {
                "precision": "bfloat16",
                "batch_size": recipe.batch_size,
                "pictures": PICTURES,
                "steps (UniPC)": STEPS,
                "guidance_scale": recipe.settings["guidance_scale"],
            },
            "learning_rates": found,
        }
        text = json.dumps(told, indent=1)
        text = re.sub(r"\[[^\[\]]*\]", lambda part: " ".join(part[0].split()), text)
        CURVES.write_text(text + "\n", encoding="utf-8")
        first = options.runs / "controlnet-{:g}-{}".format(*RUNS[0])
        save_enlarged(story(first), STORY, 1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
