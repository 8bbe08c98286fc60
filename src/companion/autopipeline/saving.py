"""Keep a picture together with all that makes it again, in the PNG file itself."""

import base64
import io
import json
import os
import re
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .drawing import draw
from .loading import task_of

KEY = "companion.autopipeline"
FORMAT = 1
PICTURES = ("image", "mask_image")


@dataclass(frozen=True)
class Settings:
    """All that a picture depends on.

    Attributes:
        task: a name of `TASKS`.
        model: the zoo's name, or the hub's id with "@" and the commit, or the folder's name.
        prompt: what was drawn.
        seed: of the noise.
        arguments: the other arguments of `draw`; pictures among them are whole.
        scheduler: its class and configuration.
        precision: of the UNet's weights.
        versions: of diffusers and torch.
    """

    task: str
    model: str
    prompt: str
    seed: int
    arguments: dict[str, Any]
    scheduler: dict[str, Any]
    precision: str
    versions: dict[str, str] = field(default_factory=dict)

    def redraw(self, pipe: Any) -> Image.Image:
        """Draw the picture again; the pipeline's own scheduler is back in the end.

        Args:
            pipe: a pipeline of the same task and model.

        Raises:
            ValueError: a pipeline of another task or model.
        """
        if (task_of(pipe), model_of(pipe)) != (self.task, self.model):
            raise ValueError(
                f"The picture is of the task {self.task} and the model {self.model}, but the "
                f"pipeline is of {task_of(pipe)} and {model_of(pipe)}: load the picture's."
            )
        kind = getattr(diffusers, self.scheduler["_class_name"])
        own = pipe.scheduler
        pipe.scheduler = kind.from_config(self.scheduler)
        try:
            (picture,) = draw(pipe, self.prompt, seeds=self.seed, **self.arguments)
        finally:
            pipe.scheduler = own
        return picture


def save_with_settings(
    path: str | Path, picture: Image.Image, pipe: Any, prompt: str, *, seed: int, **arguments: Any
) -> Settings:
    """Write a picture as PNG with the settings that drew it.

    Call it as `draw` was called. The file appears whole or not at all, and replaces one of that
    name.

    Args:
        path: of a PNG file, in a folder that exists.
        picture: what `draw` gave.
        pipe: the pipeline that drew it, with the scheduler that did.
        prompt: as given to `draw`.
        seed: the picture's own.
        **arguments: the others that were given to `draw`.

    Returns:
        The settings as they stand in the file.

    Raises:
        ValueError: another kind of file, or an argument that a file cannot hold.
        FileNotFoundError: no such folder.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"Settings go into a PNG file, but {path.name} is none: call it *.png.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent}: make it first.")
    settings = Settings(
        task=task_of(pipe),
        model=model_of(pipe),
        prompt=prompt,
        seed=seed,
        arguments=arguments,
        scheduler={"_class_name": type(pipe.scheduler).__name__, **_plain(pipe.scheduler.config)},
        precision=str(pipe.unet.dtype).removeprefix("torch."),
        versions={"diffusers": diffusers.__version__, "torch": torch.__version__},
    )
    note = PngInfo()
    note.add_itxt(KEY, _to_json(settings))
    _write_whole(path, picture, note)
    return settings


def load_settings(path: str | Path) -> Settings:
    """Read the settings of a picture that `save_with_settings` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file without settings, or with settings that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with Image.open(path) as picture:
            picture.load()  # texts may stand behind the pixels
            text = picture.info.get(KEY)
    except (OSError, SyntaxError) as error:
        raise ValueError(
            f"{path.name} is no picture that can be read: fetch it again, or draw it again."
        ) from error
    if text is None:
        raise ValueError(
            f"{path.name} holds no settings: either save_with_settings did not write it, or a "
            f"program that saved it again dropped them."
        )
    try:
        return _from_json(text)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"The settings in {path.name} cannot be read: they are damaged, or a later version "
            f"wrote them."
        ) from error


def model_of(pipe: Any) -> str:
    """A name for the pipeline's model that means the same on another machine."""
    from companion.zoo import entries

    folder = Path(str(pipe.config._name_or_path))
    for name, entry in entries().items():
        # A model that shares parts lies in the cache, under its name and a digest of its files.
        if folder == entry.path or re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{16}}", folder.name):
            return name
    cached = re.search(r"models--(.+?)--(.+?)[/\\]snapshots[/\\](\w+)", str(folder))
    return "{}/{}@{}".format(*cached.groups()) if cached else folder.name


def _plain(config: Any) -> dict[str, Any]:
    """A scheduler's configuration without what says where it was loaded from."""
    return {key: value for key, value in dict(config).items() if not key.startswith("_")}


def _to_json(settings: Settings) -> str:
    entry = {"format": FORMAT, **asdict(settings)}
    entry["arguments"] = {key: _encode(key, value) for key, value in settings.arguments.items()}
    try:
        return json.dumps(entry, ensure_ascii=False)
    except TypeError as error:
        raise ValueError(f"The settings hold something that no file can: {error}.") from error


def _from_json(text: str) -> Settings:
    entry = json.loads(text)
    if entry.pop("format") != FORMAT:
        raise ValueError("another format")
    entry["arguments"] = {key: _decode(key, value) for key, value in entry["arguments"].items()}
    return Settings(**entry)


def _encode(name: str, value: Any) -> Any:
    if name not in PICTURES:
        return value
    buffer = io.BytesIO()
    value.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _decode(name: str, value: Any) -> Any:
    if name not in PICTURES:
        return value
    return Image.open(io.BytesIO(base64.b64decode(value)))


def _write_whole(path: Path, picture: Image.Image, note: PngInfo) -> None:
    """Write beside the file, then put it in its place in one step."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            picture.save(file, "PNG", pnginfo=note)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
