"""Pictures as bytes: from a folder, from a dataset of the hub, or from the scenes."""

import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from companion.scenes import scene

if TYPE_CHECKING:
    from datasets import Dataset

SCENES = "scenes:"
Named = tuple[str, Callable[[], Image.Image]]  # a picture's name, and how to open it


def load_pictures(
    source: str | Path, image_size: int, *, num_scenes: int = 4000, on_bad: str = "fail"
) -> Tensor:
    """All pictures of a source, cut to squares of one size.

    Args:
        source: a folder (searched with its subfolders), the id of a dataset on the hub with a
            column of pictures, or "scenes:SUBSET" (see `companion.scenes.subsets`).
        image_size: side in pixels.
        num_scenes: how many scenes.
        on_bad: "fail" stops at the first picture that cannot be read, "skip" leaves it out.

    Returns:
        uint8 of shape (pictures, 3, image_size, image_size), RGB.

    Raises:
        ValueError: no picture was found, or one cannot be read; the sentence names it.
        FileNotFoundError: there is no such folder, or the dataset cannot be had.
    """
    name = str(source)
    if name.startswith(SCENES):
        return _scenes(name.removeprefix(SCENES), image_size, num_scenes)
    folder = Path(name).expanduser()
    if folder.is_dir():
        named, total = _in_folder(folder)
    elif isinstance(source, Path) or name.startswith(("/", "./", "../", "~")):
        raise FileNotFoundError(f"There is no folder {folder}.")
    else:
        named, total = _in_dataset(name)
    return _read(named, total, name, image_size, on_bad)


def _scenes(subset: str, image_size: int, count: int) -> Tensor:
    pixels = np.stack([scene(n, subset=subset, size=image_size).pixels for n in range(count)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def _in_folder(folder: Path) -> tuple[Iterator[Named], int]:
    suffixes = Image.registered_extensions()
    # Names only: a link that leads nowhere is a picture that cannot be read, not one unseen.
    paths = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in suffixes and not path.is_dir()
    )
    if not paths:
        raise ValueError(f"There is no picture in the folder {folder}: put some there, or in it.")
    return ((str(path), lambda path=path: Image.open(path)) for path in paths), len(paths)


def _in_dataset(name: str) -> tuple[Iterator[Named], int]:
    from datasets import load_dataset

    try:
        dataset = load_dataset(name, split="train")
    except Exception as error:  # one of dozens of kinds, from five libraries
        raise FileNotFoundError(
            f"The dataset {name} is neither a folder here nor could it be loaded from the hub "
            f"({type(error).__name__}): check the name and the connection, or give a folder of "
            "pictures."
        ) from error
    return named_pictures(dataset, name), len(dataset)


def named_pictures(dataset: "Dataset", name: str) -> Iterator[Named]:
    """Name and opener of each picture of a dataset.

    Raises:
        ValueError: the dataset has no column of pictures.
    """
    from datasets import Image as ImageFeature

    columns = [key for key, kind in dataset.features.items() if isinstance(kind, ImageFeature)]
    if not columns:
        there = ", ".join(dataset.features)
        raise ValueError(f"The dataset {name} has no column of pictures, only: {there}.")
    column = columns[0]
    raw = dataset.select_columns(column).cast_column(column, ImageFeature(decode=False))

    def opener(row: int) -> Callable[[], Image.Image]:
        def open_it() -> Image.Image:
            found: dict[str, Any] = raw[row][column]
            return Image.open(io.BytesIO(found["bytes"]) if found["bytes"] else found["path"])

        return open_it

    return ((f"{name}, row {row}", opener(row)) for row in range(len(raw)))


def _read(named: Iterable[Named], total: int, source: str, image_size: int, on_bad: str) -> Tensor:
    pixels = torch.empty(total, 3, image_size, image_size, dtype=torch.uint8)
    bad: list[str] = []

    def attempt(one: Named) -> Tensor | str:
        name, open_it = one
        try:
            with open_it() as image:
                return to_square(image, image_size)
        except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError) as error:
            reason = "it is missing" if isinstance(error, FileNotFoundError) else str(error)
            return f"{name} ({reason})"

    with ThreadPoolExecutor() as pool:  # PIL decodes without Python's lock
        count = 0
        remaining = iter(named)
        # In parts: a pool takes its whole input at once.
        while part := list(islice(remaining, 256)):
            for answer in pool.map(attempt, part):
                if isinstance(answer, Tensor):
                    pixels[count] = answer
                    count += 1
                elif on_bad == "fail":
                    raise ValueError(
                        f"The picture {answer} cannot be read: mend or remove it, or leave such "
                        "pictures out with bad_pictures = 'skip'."
                    )
                else:
                    bad.append(answer)
    if not count:
        raise ValueError(f"None of the {total} pictures of {source} can be read: {bad[0]}.")
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        warnings.warn(
            f"Left out {len(bad)} of {total} pictures that cannot be read: "
            f"{', '.join(bad[:3])}{more}.",
            stacklevel=3,
        )
    return pixels[:count]


def to_square(image: Image.Image, size: int) -> Tensor:
    """The middle square of a picture as uint8 of shape (3, size, size), RGB.

    Turned as its EXIF data say; what is transparent becomes white.
    """
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = ImageOps.fit(image.convert("RGB"), (size, size))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
