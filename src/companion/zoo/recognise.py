"""What is on a picture: the zoo's classifier, asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from .registry import folder

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from transformers import ResNetForImageClassification

SIZE = 64  # pixels a side, as the classifier was trained
_BACKGROUND = " background"


@dataclass(frozen=True)
class Seen:
    """What the classifier sees on a picture.

    Attributes:
        objects: names of the objects, the surest first; none where nothing is sure.
        background: the colour's name.
    """

    objects: tuple[str, ...]
    background: str

    def __str__(self) -> str:
        return f"{' and '.join(self.objects) or 'nothing'} on {self.background}"


def recognise(images: Image.Image | Sequence[Image.Image] | torch.Tensor) -> list[Seen]:
    """Name the objects and the background of pictures that look like scenes.

    The classifier has seen scenes and nothing else: what it says of noise or of a photograph means
    nothing.

    Args:
        images: a PIL image, several, or floats of shape (batch, 3, height, width) in the range
            -1..1.

    Returns:
        One `Seen` a picture: every object of probability above one half, and the likeliest
        background.
    """
    logits = scene_logits(as_batch(images))
    names = list(classifier().config.id2label.values())
    things = sum(not name.endswith(_BACKGROUND) for name in names)
    answers = []
    for row in logits.tolist():
        sure = sorted((n for n in range(things) if row[n] > 0), key=lambda n: -row[n])
        background = max(range(things, len(names)), key=row.__getitem__)
        answers.append(
            Seen(tuple(names[n] for n in sure), names[background].removesuffix(_BACKGROUND))
        )
    return answers


@cache
def classifier() -> ResNetForImageClassification:
    """The zoo's classifier, on the CPU, in float32."""
    import torch
    from transformers import ResNetForImageClassification

    return ResNetForImageClassification.from_pretrained(
        folder("classifier"), dtype=torch.float32, use_safetensors=True
    ).eval()


def as_batch(images: Image.Image | Sequence[Image.Image] | torch.Tensor) -> torch.Tensor:
    """Pictures as the classifier takes them: float32 of shape (batch, 3, 64, 64) in -1..1, on the
    CPU."""
    import numpy as np
    import torch
    import torch.nn.functional as F
    from PIL import Image

    if isinstance(images, torch.Tensor):
        batch = images.detach().float().cpu().clamp(-1, 1)
        batch = batch[None] if batch.ndim == 3 else batch
    else:
        several = [images] if isinstance(images, Image.Image) else list(images)
        pixels = np.stack([np.asarray(image.convert("RGB")) for image in several])
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    if batch.shape[-2:] != (SIZE, SIZE):
        batch = F.interpolate(batch, (SIZE, SIZE), mode="bilinear", antialias=True)
    return batch


def scene_logits(batch: torch.Tensor) -> torch.Tensor:
    """The classifier's logits: (batch, labels), for a batch made by `as_batch`."""
    import torch

    with torch.inference_mode():
        return classifier()(batch).logits


def scene_features(batch: torch.Tensor) -> torch.Tensor:
    """The classifier's last features, averaged over the picture: (batch, channels); what KID is
    measured on."""
    import torch

    with torch.inference_mode():
        return classifier().resnet(batch).pooler_output.flatten(1)
