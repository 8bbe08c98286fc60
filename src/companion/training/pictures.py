"""Pictures as bytes: from a folder, from a dataset of the hub, or from the scenes."""

import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from companion.door import Untrusted, is_file, is_folder, printable
from companion.door.pictures import as_rgb, as_rgba, held_picture
from companion.scenes import scene

from .rows import Named, folder_dataset, hub_dataset, is_saved, is_snapshot, snapshot_of
from .walk import TABLES, Found, look_through

SCENES = "scenes:"
CHANNELS = (1, 3, 4)  # grey; red, green and blue; these and alpha
_READ_AHEAD = 256  # pictures given to the threads at once


def load_pictures(
    source: str | Path,
    image_size: int,
    *,
    num_scenes: int = 4000,
    on_bad: str = "fail",
    channels: int = 3,
    config_name: str | None = None,
    split: str | None = None,
    leave_out: Path | None = None,
) -> Tensor:
    """All pictures of a source, cut to squares of one size.

    Args:
        source: a folder (searched with its subfolders), one that holds a dataset (parquet, arrow,
            webdataset, zip, what `save_to_disk` wrote), the id of a dataset on the hub with a
            column of pictures, or "scenes:SUBSET" (see `companion.scenes.subsets`).
        image_size: side in pixels.
        num_scenes: how many scenes.
        on_bad: "fail" stops at the first picture that cannot be read, "skip" leaves it out.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.
        config_name: which configuration of a dataset that has several.
        split: which split of a dataset; by default train, or its only one.
        leave_out: the folder of the run, which may lie among the pictures.

    Returns:
        uint8 of shape (pictures, channels, image_size, image_size).

    Raises:
        ValueError: no picture was found, or one cannot be read; the sentence names it.
        FileNotFoundError: there is no such folder, or the dataset cannot be had.
        RuntimeError: they do not fit in memory.
    """
    name = str(source)
    if name.startswith(SCENES):
        _check_memory(num_scenes, image_size, channels)
        return _scenes(name.removeprefix(SCENES), image_size, num_scenes, channels)
    try:
        place = Path(name).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(f"There is no folder {name}: no such user is known.") from error
    if is_folder(place):
        named, total = _in_folder(place, config_name, split, leave_out)
    elif is_file(place):
        named, total = _in_file(place, config_name, split)
    elif isinstance(source, Path) or name.startswith(("/", "./", "../", "~")):
        raise FileNotFoundError(f"There is no folder {printable(str(place))}.")
    else:
        named, total = hub_dataset(name, config_name=config_name, split=split)
    _check_memory(total, image_size, channels)
    return _read(named, total, printable(name), image_size, on_bad, channels)


def _scenes(subset: str, image_size: int, count: int, channels: int) -> Tensor:
    if channels == 3:
        pixels = np.stack([scene(n, subset=subset, size=image_size).pixels for n in range(count)])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    images = (
        Image.fromarray(scene(n, subset=subset, size=image_size).pixels) for n in range(count)
    )
    return torch.stack([to_square(image, image_size, channels) for image in images])


def _in_folder(
    folder: Path, config_name: str | None, split: str | None, leave_out: Path | None
) -> tuple[Iterator[Named], int]:
    name = printable(str(folder))
    folder = snapshot_of(folder)
    if is_saved(folder) or is_snapshot(folder) or config_name or split:
        return folder_dataset(folder, name, config_name=config_name, split=split)
    try:
        found = look_through(folder, leave_out)
    except OSError as error:
        raise PermissionError(f"The folder {name} cannot be read ({error.strerror}).") from error
    of_rows = [path for path in found.tables if path.suffix.lower() in (".parquet", ".arrow")]
    if of_rows or (found.tables and not found.pictures):
        for path in of_rows or found.tables:  # others beside them are not asked for
            if path.suffix != path.suffix.lower():  # which the library would pass over
                raise ValueError(
                    f"The file {printable(str(path))} ends in {path.suffix}: call it "
                    f"{path.suffix.lower()}, in small letters, or give that file alone."
                )
        _say_beside(found, name)
        return folder_dataset(folder, name)
    passed = f" Passed over: {found.told()}." if found.passed else ""
    if not found.pictures:
        raise ValueError(
            f"There is no picture in the folder {name}: put some there, or in it.{passed}"
        )
    if passed:
        warnings.warn(f"Not all in {name} is a picture to learn from.{passed}", stacklevel=4)
    named = ((printable(str(path)), lambda path=path: path) for path in found.pictures)
    return named, len(found.pictures)


def _say_beside(found: Found, name: str) -> None:
    if found.pictures:
        warnings.warn(
            f"The folder {name} holds a dataset: {len(found.pictures):,} pictures beside it are "
            "passed over.",
            stacklevel=5,
        )


def _in_file(path: Path, config_name: str | None, split: str | None) -> tuple[Iterator[Named], int]:
    name = printable(str(path))
    if path.suffix.lower() not in TABLES:
        kinds = ", ".join(TABLES)
        raise ValueError(
            f"{name} is a file, not a folder of pictures: give the folder, or a dataset's file "
            f"({kinds})."
        )
    return folder_dataset(path, name, config_name=config_name, split=split)


def _check_memory(count: int, image_size: int, channels: int) -> None:
    needed, free = count * channels * image_size**2, _free_memory()
    if free is not None and needed > free:
        raise RuntimeError(
            f"{count:,} pictures of {image_size}x{image_size} take {needed / 1e9:,.1f} GB of "
            f"memory, and {free / 1e9:,.1f} GB are free: lower image_size, or give fewer pictures."
        )


def _free_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line), None)


def _read(
    named: Iterable[Named], total: int, source: str, image_size: int, on_bad: str, channels: int
) -> Tensor:
    pixels = torch.empty(total, channels, image_size, image_size, dtype=torch.uint8)
    bad: list[str] = []

    def attempt(picture: Named) -> Tensor | str:
        name, find = picture
        try:
            with held_picture(find(), name, side=image_size) as image:
                return to_square(image, image_size, channels, name)
        except FileNotFoundError:
            return f"{name} is missing"
        except Untrusted as error:
            return str(error).removesuffix(".")
        except Exception as error:  # a row that cannot be read, an archive that is damaged
            return f"{name} cannot be read ({printable(str(error)) or type(error).__name__})"

    with ThreadPoolExecutor() as pool:  # PIL decodes without Python's lock
        count = 0
        remaining = iter(named)
        # In parts: a pool takes its whole input at once.
        while part := list(islice(remaining, _READ_AHEAD)):
            for answer in pool.map(attempt, part):
                if isinstance(answer, Tensor):
                    pixels[count] = answer
                    count += 1
                elif on_bad == "fail":
                    raise ValueError(
                        f"{answer}; mend or remove it, or leave such pictures out with "
                        "bad_pictures = 'skip'."
                    )
                else:
                    bad.append(answer)
    if not count:
        why = f": {bad[0]}" if bad else ", as there are none"
        raise ValueError(f"None of the {total} pictures of {source} can be read{why}.")
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        warnings.warn(
            f"Left out {len(bad)} of {total} pictures that cannot be read: "
            f"{', '.join(bad[:3])}{more}.",
            stacklevel=3,
        )
    return pixels[:count]


def to_square(image: Image.Image, size: int, channels: int = 3, what: str = "") -> Tensor:
    """The middle square of a picture as uint8 of shape (channels, size, size).

    Turned as its EXIF data say; what is transparent becomes white, except where there is a channel
    for it. Chapter 5, "Make it fit".

    Raises:
        Untrusted: it cannot be read; the sentence calls it `what`.
    """
    image = as_rgba(image, what) if channels == 4 else as_rgb(image, what)
    image = ImageOps.fit(image.convert("L") if channels == 1 else image, (size, size))
    pixels = np.array(image)
    return torch.from_numpy(pixels.reshape(size, size, channels)).permute(2, 0, 1)
