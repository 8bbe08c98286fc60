"""What is on a picture: the zoo's classifier, asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from companion.door import Untrusted

from .assembled import folder

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from transformers import ResNetForImageClassification

SIZE = 64  # pixels a side, as the classifier was trained
_BACKGROUND = " background"
_WANTED = "What is to be recognised is no picture: give a PIL image, several, or a tensor."


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
        images: a PIL image, several, or a tensor of shape (batch, 3, height, width), (batch, 1,
            height, width) where it is grey: floats in the range -1..1, or uint8.

    Returns:
        One `Seen` a picture: every object of probability above one half, and the likeliest
        background.

    Raises:
        ValueError: it is something else, or there is no picture.
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
    import torch
    from PIL import Image

    if isinstance(images, torch.Tensor):
        return _scaled(_floats(images))
    several = [images] if isinstance(images, Image.Image) else images
    if isinstance(several, str) or not isinstance(several, Iterable):
        raise Untrusted(_WANTED)
    batches = [_scaled(_pixels(image)) for image in several]
    if not batches:
        raise Untrusted("There is no picture to look at: give one, or several.")
    return torch.cat(batches)


def _floats(images: torch.Tensor) -> torch.Tensor:
    import torch

    batch = images.detach().cpu()
    batch = batch[None] if batch.ndim == 3 else batch
    if batch.ndim != 4 or batch.shape[1] not in (1, 3) or not batch.numel():
        raise Untrusted(
            f"The tensor has the shape {tuple(images.shape)}, but pictures have (batch, 3, height, "
            "width)."
        )
    if batch.dtype == torch.uint8:
        batch = batch.float() / 127.5 - 1
    elif not batch.is_floating_point() or not batch.isfinite().all():
        raise Untrusted(
            f"The tensor holds {images.dtype}, or what is no finite number: give floats in the "
            "range -1..1, or uint8."
        )
    return batch.float().clamp(-1, 1).expand(-1, 3, -1, -1)


def _pixels(image: Image.Image) -> torch.Tensor:
    import numpy as np
    import torch
    from PIL import Image

    from companion.door.pictures import as_rgb

    if not isinstance(image, Image.Image):
        raise Untrusted(_WANTED)
    pixels = np.array(as_rgb(image))[None]
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def _scaled(batch: torch.Tensor) -> torch.Tensor:
    import torch.nn.functional as F

    if batch.shape[-2:] == (SIZE, SIZE):
        return batch
    return F.interpolate(batch, (SIZE, SIZE), mode="bilinear", antialias=True)


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
