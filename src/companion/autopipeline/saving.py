"""Keep a picture together with all that makes it again, in the PNG file itself.

Several texts lie in the file, each for another reader. Ours, under KEY, is the whole truth.
AUTOMATIC1111's `parameters` is what most tools read, ComfyUI among them. `Description` and
`Software`, names of the PNG specification, are for people. The label says that a model drew it.
ComfyUI's own names, `prompt` and `workflow`, are left alone: it would take what stands there for a
graph and load it."""

import inspect
import io
import os
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from companion import __version__
from companion.door import exists, is_file, is_folder, printable
from companion.door.labels import Origin, labelled
from companion.door.paths import file_path
from companion.door.pictures import as_rgb, open_picture
from companion.door.places import replace
from companion.door.text import fault_of

from . import infotext
from .checks import prepare
from .loading import task_of
from .settings import Settings, model_of
from .settings_json import from_json, to_json

KEY = "companion.autopipeline"
PNG_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")


def save_with_settings(
    path: str | Path,
    picture: Image.Image,
    pipe: Any,
    prompt: str,
    *,
    seed: int,
    label: bool = True,
    **arguments: Any,
) -> Settings:
    """Write a picture as PNG with the settings that drew it.

    Chapter 4, "Keep a picture with its settings".

    Call it as `draw` was called. The file appears whole or not at all, and replaces one of that
    name; a link of that name makes way, and what it leads to stays.

    Args:
        path: of a PNG file, in a folder that exists.
        picture: what `draw` gave.
        pipe: the pipeline that drew it, with the scheduler that did.
        prompt: as given to `draw`.
        seed: the picture's own.
        label: whether the file says that a model drew it; see `companion.door.labels`.
        **arguments: the others that were given to `draw`.

    Returns:
        The settings as they stand in the file.

    Raises:
        ValueError: another kind of file, what `draw` refuses, or what a file cannot hold.
        FileNotFoundError: no such folder.
        OSError: the file cannot be written.
    """
    path = file_path("path", path)
    if path.suffix.lower() != ".png":
        raise ValueError(
            f"Settings go into a PNG file, but {printable(path.name)} is none: call it *.png."
        )
    if not is_folder(path.parent):
        raise FileNotFoundError(f"There is no folder {printable(str(path.parent))}: make it first.")
    if not isinstance(picture, Image.Image):
        raise ValueError(f"picture is a PIL picture, but {type(picture).__name__} was given.")
    call = prepare(pipe, prompt, [seed], arguments)
    guided = {} if call.guided == 1 else {"guided": call.guided}
    settings = Settings(
        task=task_of(pipe),
        model=model_of(pipe),
        prompt=call.prompts[0],
        seed=call.seeds[0],
        arguments={**call.arguments, **guided},
        scheduler={"_class_name": type(pipe.scheduler).__name__, **_plain(pipe.scheduler.config)},
        precision=str(pipe.unet.dtype).removeprefix("torch."),
        versions={"diffusers": diffusers.__version__, "torch": torch.__version__},
    )
    if picture.mode not in PNG_MODES:
        picture = as_rgb(picture, "picture")
    note = PngInfo()
    note.add_itxt(KEY, to_json(settings))
    # As the webui does: Latin-1 in a tEXt chunk, which every tool reads, all else in an iTXt one.
    note.add_text(infotext.KEY, infotext.infotext(settings, picture.size, _defaults(pipe)))
    if described := settings.prompt.replace("\0", ""):
        note.add_text("Description", described)
    note.add_text("Software", f"companion {__version__}, Diffusers {diffusers.__version__}")
    origin = Origin.REDRAWN if "image" in settings.arguments else Origin.DRAWN
    _write_whole(path, _encoded(picture, note, origin if label else None))
    return settings


def load_settings(path: str | Path) -> Settings:
    """Read the settings of a picture that `save_with_settings` wrote.

    What they tell is checked, except that the scheduler is known: `redraw` does that.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file without settings, or with settings that cannot be read.
    """
    path = file_path("path", path)
    name = printable(path.name or str(path))  # "." and "/" have none
    try:
        note = open_picture(path, name).info.get(KEY)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file {printable(str(path))}.") from error
    if not isinstance(note, str):
        raise ValueError(
            f"{name} holds no settings: either save_with_settings did not write it, or a "
            f"program that saved it again dropped them."
        )
    return from_json(note, f"The settings in {name}")


def _plain(config: Any) -> dict[str, Any]:
    """A scheduler's configuration without what says where it was loaded from."""
    return {key: value for key, value in dict(config).items() if not key.startswith("_")}


def _defaults(pipe: Any) -> dict[str, Any]:
    """What counts in a call of a pipeline where nothing is said."""
    parameters = inspect.signature(type(pipe).__call__).parameters.values()
    return {known.name: known.default for known in parameters if known.default is not known.empty}


def _encoded(picture: Image.Image, note: PngInfo, origin: Origin | None) -> bytes:
    """The PNG file, before anything is written.

    Raises:
        ValueError: the picture is closed or empty, or holds what PNG cannot.
    """
    file = io.BytesIO()
    try:
        if origin:
            labelled(picture, origin, note)
        picture.save(file, "PNG", pnginfo=note)
    except MemoryError:
        raise
    except Exception as error:  # Pillow has its own for each
        raise ValueError(
            f"picture cannot be made a PNG file ({fault_of(error)}): give an open picture that is "
            f"not empty, and take out of picture.info what is wrong."
        ) from error
    return file.getvalue()


def _write_whole(path: Path, encoded: bytes) -> None:
    """Write beside the file, then put it in its place in one step."""
    try:
        if path.is_file() and not path.is_symlink() and not os.access(path, os.W_OK):
            raise PermissionError(f"{path.name} is write-protected")
        if exists(path) and not is_file(path):
            raise OSError(f"{path.name} is a folder, a pipe or a device")
        replace(path, encoded)
    except OSError as error:
        raise type(error)(
            f"{printable(str(path))} cannot be written ({error.strerror or error}): take another "
            f"place, or another name."
        ) from error
