"""Scenes as a `datasets.Dataset`, and as a folder of pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from companion.door.numbers import whole

from .scene import scene

if TYPE_CHECKING:
    from datasets import Dataset

_SHARD = 1000  # rows that are Python objects at one time


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def dataset(
    size: int, *, subset: str = "all", image_size: int = 64, first_seed: int = 0
) -> Dataset:
    """The scenes of the seeds first_seed .. first_seed + size - 1 as a `datasets.Dataset`.

    Columns: `image` (decoded to PIL, RGB), `caption`, `background`, `objects` (names), and `masks`
    (a list of decoded pictures of mode "L", one an object: 255 on the object, 0 elsewhere).

    Raises:
        ValueError: a size below 1, or what `scene` refuses.
    """
    size, first_seed = whole("size", size), whole("first_seed", first_seed)
    if size < 1:
        raise ValueError(f"A dataset has at least 1 scene, but {size} were asked for.")
    from datasets import Dataset, Features, List, Value, concatenate_datasets
    from datasets import Image as ImageFeature

    features = Features(
        {
            "image": ImageFeature(),
            "caption": Value("string"),
            "background": Value("string"),
            "objects": List(Value("string")),
            "masks": List(ImageFeature()),
        }
    )
    seeds = range(first_seed, first_seed + size)
    return concatenate_datasets(
        [
            Dataset.from_list(
                [_row(seed, subset, image_size) for seed in seeds[start : start + _SHARD]],
                features=features,
            )
            for start in range(0, size, _SHARD)
        ]
    )


def _row(seed: int, subset: str, image_size: int) -> dict[str, Any]:
    drawn = scene(seed, subset=subset, size=image_size)
    return {
        "image": {"bytes": _png(drawn.pixels), "path": None},
        "caption": drawn.caption,
        "background": drawn.background,
        "objects": [thing.name for thing in drawn.objects],
        "masks": [
            {"bytes": _png(mask.astype(np.uint8) * 255), "path": None} for mask in drawn.masks
        ],
    }


def export_imagefolder(
    folder: str | Path, seeds: Iterable[int], *, subset: str = "all", image_size: int = 64
) -> Path:
    """Write scenes as an `imagefolder`: PNG files beside a `metadata.jsonl` of file names and
    captions.

    `datasets.load_dataset("imagefolder", data_dir=folder)` reads it back. This is the form in
    which a reader's own pictures come in.

    Raises:
        FileExistsError: the folder holds something already; nothing is overwritten.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(
            f"The folder {folder} is not empty; name a new one, or empty it first."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as metadata:
        for seed in seeds:
            drawn = scene(seed, subset=subset, size=image_size)
            name = f"scene-{int(seed):06d}.png"
            (folder / name).write_bytes(_png(drawn.pixels))
            metadata.write(json.dumps({"file_name": name, "text": drawn.caption}) + "\n")
    return folder
