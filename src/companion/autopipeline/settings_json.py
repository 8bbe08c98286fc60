"""Settings as JSON, the text that lies in a PNG file: written, and read back as checked values."""

import base64
import io
import json
import struct
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from companion.door.documents import parse_json
from companion.door.numbers import number, shown
from companion.door.pictures import open_picture
from companion.stable_diffusion import LARGEST_SIDE

from .arguments import ARGUMENTS, checked, unknown
from .loading import TASKS
from .settings import Settings

FORMAT = 1
PICTURES = ("image", "mask_image")
LONGEST = 60 * 2**20  # bytes; Pillow reads 64 MiB of texts from a PNG
REMEDY = "they are damaged, or a later version wrote them"


@dataclass(frozen=True)
class _Note(Settings):
    format: Literal[1] = field(kw_only=True)


def _numbers(name: str, value: Any) -> dict[str, float]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{name} is {shown(value)}, but it is numbers by name.")
    return {key: number(f"{key} of {name}", part) for key, part in value.items()}


# What a file can tell; the LoRA's scale is one of the last.
KEPT = {**ARGUMENTS, "cross_attention_kwargs": _numbers}


def to_json(settings: Settings) -> str:
    """The settings as JSON; pictures among them as PNG files in base64.

    Raises:
        ValueError: they hold something that `from_json` would refuse.
    """
    entry = {setting.name: getattr(settings, setting.name) for setting in fields(settings)}
    try:
        if others := [name for name in settings.arguments if name not in KEPT]:
            raise ValueError(", ".join(others))
        arguments = checked(settings.arguments, KEPT)
        entry["arguments"] = {key: _encode(key, value) for key, value in arguments.items()}
        note = json.dumps({"format": FORMAT, **entry}, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        fault = str(error).rstrip(".")
        raise ValueError(f"The settings hold something that no file can: {fault}.") from error
    if len(note.encode()) > LONGEST:
        raise ValueError(
            f"The settings have more than {LONGEST:,} bytes with their pictures, which is more "
            f"than is read from a PNG file: draw from smaller pictures."
        )
    return note


def from_json(note: str, what: str) -> Settings:
    """The settings of a text from a file.

    Args:
        note: the text.
        what: how the sentence calls it, such as "The settings in cat.png".

    Raises:
        ValueError: it is no such text, or tells what no picture can have been drawn with.
    """
    entry = parse_json(_Note, note, what, limit=LONGEST, remedy=REMEDY)
    told = {setting.name: getattr(entry, setting.name) for setting in fields(Settings)}
    try:
        if entry.task not in TASKS:
            raise ValueError(f"there is no task {shown(entry.task)}")
        if not isinstance(entry.scheduler.get("_class_name"), str):
            raise ValueError("its scheduler has no class")
        for name in entry.arguments:
            if name not in KEPT:
                raise unknown(name, list(KEPT), "in a file")
        arguments = {key: _decode(key, value) for key, value in entry.arguments.items()}
        told["arguments"] = checked(arguments, KEPT)
    except ValueError as error:
        fault = str(error).rstrip(".?")
        raise ValueError(f"{what} cannot be read ({fault}): {REMEDY}.") from error
    return Settings(**told)


def _encode(name: str, value: Any) -> Any:
    if name not in PICTURES:
        return value
    buffer = io.BytesIO()
    value.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _decode(name: str, value: Any) -> Any:
    if name not in PICTURES or value is None:
        return value
    try:
        data = base64.b64decode(value, validate=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no base64") from error
    # Looked at before it is decoded; it is a PNG file always, and these are its width and height.
    if max(struct.unpack(">II", data[16:24].ljust(8, b"\0"))) > LARGEST_SIDE:
        raise ValueError(f"{name} has a side of more than {LARGEST_SIDE} pixels, or is no PNG file")
    return open_picture(data, name)
