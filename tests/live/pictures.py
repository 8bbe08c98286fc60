"""Pictures that Python draws, and the settings with which the page draws the same."""

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
)
from PIL import Image

from companion.autopipeline import make_scheduler
from companion.scenes import scene
from companion.zoo import folder

# The page's names of samplers, and those of make_scheduler.
SCHEDULERS = {"ddpm": "DDPM", "ddim": "DDIM", "unipc": "UniPC"}


@dataclass(frozen=True)
class Wish:
    """What is to be drawn; the page gets it as `settings`."""

    prompt: str
    seed: int = 0
    steps: int = 15
    guidance: float = 4.0
    sampler: str = "unipc"
    negative_prompt: str = ""
    strength: float | None = None  # of a scene to begin with
    repaint: bool = False  # only what is not the scene's first object

    def settings(self) -> dict[str, Any]:
        start = None
        if self.strength is not None:
            pixels = np.asarray(start_picture().convert("RGBA")).flatten().tolist()
            repaint = (np.asarray(mask()) > 0).astype(int).flatten().tolist()
            start = {
                "pixels": pixels,
                "strength": self.strength,
                "mask": repaint if self.repaint else None,
            }
        return {
            "prompt": self.prompt,
            "negativePrompt": self.negative_prompt,
            "seed": self.seed,
            "steps": self.steps,
            "guidance": self.guidance,
            "sampler": self.sampler,
            "start": start,
            "watch": False,
            "heatMaps": False,
        }

    def draw(self) -> Image.Image:
        """The same with Diffusers' own pipeline."""
        pipe = pipeline()
        more: dict[str, Any] = {}
        if self.repaint:
            pipe = AutoPipelineForInpainting.from_pipe(pipe)
            more = {"mask_image": mask()}
        elif self.strength is not None:
            pipe = AutoPipelineForImage2Image.from_pipe(pipe)
        if self.strength is not None:
            more |= {"image": start_picture(), "strength": self.strength}
        pipe.set_progress_bar_config(disable=True)
        if self.sampler == "dpm++2m":
            pipe.scheduler = DPMSolverMultistepScheduler.from_config(
                pipe.scheduler.config, timestep_spacing="linspace"
            )
        else:
            pipe.scheduler = make_scheduler(SCHEDULERS[self.sampler], pipe.scheduler)
        return pipe(
            self.prompt,
            negative_prompt=self.negative_prompt,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=torch.Generator().manual_seed(self.seed),
            **more,
        ).images[0]


def pipeline() -> Any:
    """The zoo's Stable Diffusion, its scheduler as it is saved."""
    parts = loaded().components
    made = StableDiffusionPipeline(
        **{**parts, "scheduler": copy.deepcopy(parts["scheduler"])}, requires_safety_checker=False
    )
    made.set_progress_bar_config(disable=True)
    return made


@cache
def loaded() -> Any:
    return StableDiffusionPipeline.from_pretrained(
        folder("stable-diffusion"), dtype=torch.float32, safety_checker=None
    )


@cache
def start_picture() -> Image.Image:
    return scene(1, subset="stable-diffusion").image


@cache
def mask() -> Image.Image:
    """White is repainted: all but the first object."""
    return Image.fromarray(~scene(1, subset="stable-diffusion").masks[0]).convert("L")


WISHES = (
    Wish("a robot on an orange background"),
    Wish("a cat next to a rocket on a blue background", seed=3, sampler="ddim"),
    Wish("a frog on a purple background", seed=7, sampler="ddpm", steps=20),
    Wish("sushi above a lantern on a red background", seed=2**32 - 1, sampler="dpm++2m"),
    Wish("a star on a black background", seed=11, guidance=1.0),
    Wish("a ghost", seed=5, negative_prompt="a gray background", guidance=7.5, steps=25),
    Wish("a panda on a blue background", strength=0.6),
    Wish("a panda on a blue background", strength=1.0, sampler="ddim"),
    Wish("a panda on a green background", strength=0.55, sampler="ddpm", seed=4),
    Wish("a moon on a yellow background", strength=0.8, sampler="dpm++2m", seed=4),
    Wish("a ghost on a blue background", strength=0.8, repaint=True),
    Wish("a ghost on a blue background", strength=1.0, repaint=True, sampler="ddim"),
    Wish("a ghost on a red background", strength=0.9, repaint=True, sampler="ddpm", steps=25),
    Wish("nothing that the model knows 🤷 ☃ 雪", seed=1, steps=8),
    Wish("", seed=1, steps=1),
    Wish("a cat " * 40, seed=9, steps=10),
    Wish("an apple and a tulip on a white background", seed=21, steps=50),
    Wish("a car left of a moon on a brown background", seed=22, sampler="ddim", steps=30),
    Wish("a sunflower on a pink background", seed=23, sampler="dpm++2m", steps=9),
    Wish("a dinosaur and a penguin on a gray background", seed=24, guidance=12.0),
)


def psnr(ours: Any, theirs: Any) -> float:
    """Of pictures with 256 levels: two that are equal have 99 dB here."""
    error = np.mean((np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)) ** 2)
    return float(99.0 if error == 0 else min(99.0, 10 * np.log10(255**2 / error)))


def farthest(ours: Any, theirs: Any) -> int:
    """How many of 256 levels the colour is off that is farthest from the other picture's."""
    return int(np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int)).max())
