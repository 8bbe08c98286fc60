"""What is taught: a few pictures with captions, of an object, of a style, or a reader's own."""

import json
import warnings
from codecs import BOM_UTF8
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from companion.door import Untrusted, is_file, is_folder, printable
from companion.door.documents import parse_json, read_bytes
from companion.door.pictures import held_picture
from companion.scenes import STYLES, Subset, backgrounds, caption, objects, scene, subset
from companion.training.pictures import to_square
from companion.training.walk import look_through

from .config import FinetuneConfig

OBJECT, STYLE = "object:", "style:"
METADATA = "metadata.jsonl"
KNOWN = "stable-diffusion"  # the subset of what the zoo's Stable Diffusion draws
# Every second colour is shown, the others are for measuring whether it was learned or copied.
SHOWN = tuple(backgrounds())[::2]
HELD_OUT = tuple(backgrounds())[1::2]
MOST = 10_000  # pictures in a folder
_LONGEST = 2**24  # bytes of a metadata file


@dataclass(frozen=True)
class Examples:
    """Pictures to learn from.

    Attributes:
        pixels: uint8, (pictures, 3, side, side).
        captions: one a picture; the word that is learned stands in them.
        prompts: what to draw to see how far it is: where there are any, of backgrounds that no
            picture has.
        word: what stands for the new object or style in the captions; None for a reader's own.
    """

    pixels: Tensor
    captions: tuple[str, ...]
    prompts: tuple[str, ...]
    word: str | None = None

    @property
    def images(self) -> list[Image.Image]:
        """The pictures as PIL images, RGB."""
        return [Image.fromarray(pixels.permute(1, 2, 0).numpy()) for pixels in self.pixels]


def load_examples(config: FinetuneConfig) -> Examples:
    """The pictures and captions of the settings. Chapter 8, "Five pictures of a fox".

    Raises:
        ValueError: there is no such object or style, no picture, no caption, or a picture that
            cannot be read.
        FileNotFoundError: there is no such folder.
    """
    name = config.dataset_name
    if name.startswith(OBJECT):
        found = _of_an_object(name.removeprefix(OBJECT), config)
    elif name.startswith(STYLE):
        found = _of_a_style(name.removeprefix(STYLE), config)
    else:
        found = _in_a_folder(name, config)
    token = token_of(config)
    if token is not None and not all(token in text.split() for text in _plain(found.captions)):
        raise ValueError(
            f"Not every caption holds the new word {printable(token)}: write it into each, with "
            "blanks around it, such as "
            f'prompt = "a photo of {printable(token)}".'
        )
    return found


def token_of(config: FinetuneConfig) -> str | None:
    """The new word of a run: the setting, or for textual inversion the object's name."""
    if config.token is not None or config.method != "textual_inversion":
        return config.token
    for kind in (OBJECT, STYLE):
        if config.dataset_name.startswith(kind):
            return f"<{config.dataset_name.removeprefix(kind).replace(' ', '-')}>"
    raise ValueError(
        "Textual inversion learns a new word: name it with the setting token, such as "
        'token = "<mine>", and write it into the prompt.'
    )


def _plain(captions: tuple[str, ...]) -> list[str]:
    return [text.replace(",", " ").replace(".", " ") for text in captions]


def known_prompts(count: int) -> list[str]:
    """Prompts of what the zoo's Stable Diffusion was trained on: each object in turn, on each of
    the backgrounds in turn."""
    names, colours = subset(KNOWN).objects, tuple(backgrounds())
    return [
        caption([names[n % len(names)]], background=colours[(n + n // len(names)) % len(colours)])
        for n in range(count)
    ]


def _of_an_object(name: str, config: FinetuneConfig) -> Examples:
    if name not in objects():
        raise ValueError(
            f"There is no object {printable(name)!r} in the atlas: choose one of "
            f"{', '.join(sorted(objects()))}."
        )
    word = token_of(config) or name
    colours = [SHOWN[n % len(SHOWN)] for n in range(config.num_pictures)]
    pixels = [
        _drawn(name, "3d", colour, seed, config.image_size) for seed, colour in enumerate(colours)
    ]
    return Examples(
        torch.stack(pixels),
        tuple(_said(name, word, colour) for colour in colours),
        tuple(_said(name, word, colour) for colour in HELD_OUT),
        word,
    )


def _of_a_style(style: str, config: FinetuneConfig) -> Examples:
    if style not in STYLES:
        raise ValueError(
            f"There is no style {printable(style)!r}; choose one of: {', '.join(STYLES)}."
        )
    word, names = token_of(config) or style, subset(KNOWN).objects
    shown = [
        (names[n % len(names)], SHOWN[(n + n // len(names)) % len(SHOWN)])
        for n in range(config.num_pictures)
    ]
    pixels = [
        _drawn(name, style, colour, seed, config.image_size)
        for seed, (name, colour) in enumerate(shown)
    ]
    prompts = [(name, HELD_OUT[n % len(HELD_OUT)]) for n, name in enumerate(names)]
    return Examples(
        torch.stack(pixels),
        tuple(caption([name], background=colour, style=word) for name, colour in shown),
        tuple(caption([name], background=colour, style=word) for name, colour in prompts),
        word,
    )


def _said(name: str, word: str, colour: str) -> str:
    """The caption, with another word in the object's place where there is one."""
    text = caption([name], background=colour)
    return text if word == name else text.replace(name, word, 1)


def _drawn(name: str, style: str, colour: str, seed: int, size: int) -> Tensor:
    """A scene of that object on that background, wherever the seed puts it."""
    others = frozenset((name, other) for other in backgrounds() if other != colour)
    world = Subset(name, (name,), (style,), (1,), others)
    return torch.from_numpy(scene(seed, subset=world, size=size).pixels).permute(2, 0, 1)


def _in_a_folder(name: str, config: FinetuneConfig) -> Examples:
    try:
        folder = Path(name).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(f"There is no folder {name}: no such user is known.") from error
    if not is_folder(folder):
        raise FileNotFoundError(
            f"There is no folder {printable(name)}: give one of pictures, or object:NAME of the "
            "atlas, such as object:fox."
        )
    try:
        walked = look_through(folder, Path(config.output_dir).expanduser())
    except OSError as error:
        raise PermissionError(
            f"The folder {printable(name)} cannot be read ({error.strerror})."
        ) from error
    found = walked.pictures
    told = f" Passed over: {walked.told()}." if walked.passed else ""
    if not found:
        raise ValueError(
            f"There is no picture in the folder {printable(name)}: put some there.{told}"
        )
    if told:
        warnings.warn(
            f"Not all in {printable(name)} is a picture to learn from.{told}", stacklevel=5
        )
    if len(found) > MOST:
        raise ValueError(
            f"There are {len(found):,} pictures in the folder {printable(name)}, more than the "
            f"{MOST:,} that fine-tuning takes: give fewer."
        )
    return _read(folder, found, config.image_size, config.prompt)


def in_folder(folder: Path, size: int) -> Examples:
    """The pictures that a folder's metadata name, with their texts.

    Raises:
        ValueError: one cannot be read, or has no text.
    """
    return _read(folder, look_through(folder).pictures, size, None)


def _read(folder: Path, found: list[Path], size: int, prompt: str | None) -> Examples:
    captions = _captions(folder, found, prompt)
    pixels = []
    for path in found:
        try:
            with held_picture(path, printable(str(path)), side=size) as image:
                pixels.append(to_square(image, size, 3, printable(str(path))))
        except Untrusted as error:
            raise ValueError(f"{str(error).removesuffix('.')}; mend it or take it away.") from error
    return Examples(torch.stack(pixels), captions, tuple(dict.fromkeys(captions)))


def _captions(folder: Path, pictures: list[Path], prompt: str | None) -> tuple[str, ...]:
    """One prompt for all, or what the folder's metadata say of each."""
    if prompt is not None:
        return (prompt,) * len(pictures)
    file = folder / METADATA
    if not is_file(file):
        raise ValueError(
            f"Nothing says what is on the pictures in {printable(str(folder))}: give one prompt "
            f'for all, such as prompt = "a photo of sks", or a {METADATA} of names and texts.'
        )
    said: dict[str, str] = {}
    what = f"The file {printable(str(file))}"
    for number, line in enumerate(
        read_bytes(file, what, _LONGEST).removeprefix(BOM_UTF8).splitlines(), 1
    ):
        if line.strip():
            row = parse_json(dict[str, object], line, f"Line {number} of {printable(str(file))}")
            name, text = row.get("file_name"), row.get("text")
            if not isinstance(name, str) or not isinstance(text, str) or not text.strip():
                raise ValueError(
                    f'Line {number} of {printable(str(file))} is not {{"file_name": ..., "text": '
                    "...}: write it so."
                )
            said[name] = text
    captions = []
    names = {path.relative_to(folder).as_posix() for path in pictures}
    if gone := [name for name in said if name not in names]:
        raise ValueError(
            f"{printable(str(file))} names {printable(gone[0])}, which is not there: put the "
            "picture back, or take its line away."
        )
    for path in pictures:
        name = path.relative_to(folder).as_posix()
        if name not in said:
            raise ValueError(
                f"{printable(str(file))} says nothing of the picture {printable(name)}: add a line "
                f"{json.dumps({'file_name': name, 'text': '...'})}, or take the picture away."
            )
        captions.append(said[name])
    return tuple(captions)
