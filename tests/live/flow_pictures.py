"""Pictures that Python draws by flow matching, and the settings with which the page draws them."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline
from PIL import Image

from companion.zoo import folder


@dataclass(frozen=True)
class FlowWish:
    """What is to be drawn; the page gets it as `settings`."""

    prompt: str
    seed: int = 0
    steps: int = 10
    guidance: float = 4.0
    shift: float | None = None  # the model's own
    negative_prompt: str = ""

    def settings(self) -> dict[str, Any]:
        own = {} if self.shift is None else {"shift": self.shift}
        return {
            "model": "flow",
            "prompt": self.prompt,
            "negativePrompt": self.negative_prompt,
            "seed": self.seed,
            "steps": self.steps,
            "guidance": self.guidance,
            "sampler": "unipc",  # of the UNet
            "start": None,
            "watch": False,
            "heatMaps": False,
            **own,
        }

    def draw(self) -> Image.Image:
        """The same with Diffusers' own pipeline."""
        pipe = pipeline(folder("flow"))
        config = pipe.scheduler.config
        shift = config.shift if self.shift is None else self.shift
        parts = {
            **pipe.components,
            "scheduler": FlowMatchEulerDiscreteScheduler.from_config(config, shift=shift),
        }
        shifted = StableDiffusion3Pipeline(**parts)
        shifted.set_progress_bar_config(disable=True)
        return shifted(
            self.prompt,
            negative_prompt=self.negative_prompt,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=torch.Generator().manual_seed(self.seed),
            max_sequence_length=0,
        ).images[0]


@cache
def pipeline(path: Path) -> StableDiffusion3Pipeline:
    """In float32, without T5."""
    return StableDiffusion3Pipeline.from_pretrained(
        path, text_encoder_3=None, tokenizer_3=None, dtype=torch.float32
    )


FLOW_WISHES = (
    FlowWish("a robot on an orange background"),
    FlowWish("a cat next to a rocket on a blue background", seed=3, steps=4),
    FlowWish("a frog on a purple background", seed=2**32 - 1, steps=20, shift=1.0),
    FlowWish("a star on a black background", seed=11, guidance=1.0, shift=0.5),
    FlowWish("a ghost", seed=5, negative_prompt="a gray background", guidance=7.5, steps=7),
    FlowWish("", seed=1, steps=1),
    FlowWish("a cat " * 40, seed=9, steps=3, shift=8.0),
    FlowWish("nothing that the model knows 🤷 ☃ 雪", seed=1, steps=5),
)
