"""Pictures as people and programs save them: opened safely, upright, in red, green and blue."""

from __future__ import annotations

import ctypes
import io
import logging
import os
import re
import stat
import sys
import threading
import time
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from .places import open_plain
from .text import printable
from .values import Untrusted

LARGEST = 2**27  # pixels to decode: 134 million; cameras make 100, and a JPEG comes out smaller
LARGE = 2**24  # pixels; above it one picture at a time is held
LARGEST_PACKED = 2**28  # bytes of a picture's file in an archive
LARGE_PACKED = 2**24  # bytes; above it one such file at a time is held
LARGE_FILE = 2**20  # bytes; above it one file at a time is opened
LONGEST_HEAD = 2**26  # bytes read to find a picture's size; Pillow takes as many of text in a PNG
MOST_PARTS = 2**18  # that a TIFF says it has: four planes of 65,536 rows are as many
FEW = 2**12  # bytes that are read and decoded between two looks at the time
SECONDS = 60  # of a processor's time to decode one picture; a second is usual
# EPS starts Ghostscript, IPTC opens what it holds as any format, FITS unpacks without a limit, WMF
# asks Windows to draw; the others Pillow knows by name only.
REFUSED = frozenset({"EPS", "IPTC", "FITS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"})
_HOLDERS = frozenset({"ICO", "CUR", "ICNS", "BLP"})  # the picture in them may be a larger one
# The decoders of the first hold a picture several times, the one of BLP does not look at the time.
_MOST = {"AVIF": 2**26, "JPEG2000": 2**26, "WEBP": 2**26, "BLP": 2**24}

_OTHERS = (
    (re.compile(rb".{4}ftyp(hei|hev|mif1|msf1)", re.DOTALL), "a HEIC photograph: save it as JPEG"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer to one: run `git lfs pull`"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "a PostScript drawing: save it as PNG"),
    (re.compile(rb"%PDF"), "a PDF file: save its page as PNG"),
    (re.compile(rb"\s*<"), "a web page or an SVG drawing"),
)

# By the number in EXIF's Orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # numbers of a TIFF's tags

_turn = threading.RLock()


@dataclass(frozen=True)
class Packed:
    """A file in a zip archive.

    Attributes:
        archive: the archive.
        member: the file's name in it.
    """

    archive: Path
    member: str


Source = Path | Packed | bytes | memoryview


def open_picture(source: Source, what: str) -> Image.Image:
    """Open a picture and decode it whole, the first one of an animation.

    Args:
        source: a file, one in an archive, or the bytes of one.
        what: how the sentence calls it: a path, or "row 3 of the dataset".

    Returns:
        The picture as it was saved: see `as_rgb`, `as_mask`.

    Raises:
        Untrusted: it is no picture of a known format, damaged, or too large; the sentence names it.
        FileNotFoundError: there is no such file.
    """
    with held_picture(source, what) as image:
        return image


@contextmanager
def held_picture(source: Source, what: str, *, side: int | None = None) -> Iterator[Image.Image]:
    """The same for a block of code: of large pictures one at a time is in memory.

    Args:
        source: a file, one in an archive, or the bytes of one.
        what: how the sentence calls it.
        side: pixels that will do; a larger JPEG may come out smaller, but not below twice that.
    """
    with ExitStack() as turn:
        with _quiet(), _opened(source, what) as opened:
            watched = _Watched(opened, what)
            file = io.BufferedReader(watched, FEW)
            with _turn if _length(opened) > LARGE_FILE else nullcontext():
                image = _of(file, what)
                if side:
                    image.draft(None, (2 * side, 2 * side))
                _check_size(image, what, _MOST.get(image.format or "", LARGEST))
                with _sentence(what):
                    part = _check_parts(image, what)
            watched.knows_size = True
            if max(image.width * image.height, part) > LARGE or image.format in _HOLDERS:
                turn.enter_context(_turn)
                _give_back_memory()
            with _sentence(what):
                _load(image)
        yield image


def as_rgb(image: Image.Image, what: str = "") -> Image.Image:
    """A picture of any mode as RGB: turned as its EXIF data say, transparent parts on white, 16
    bits scaled to 8.

    A colour profile is left aside. The image that was given stays as it is.

    Args:
        image: as it was opened.
        what: how the sentence calls it; by default its file's name.

    Raises:
        Untrusted: it is cut short or damaged, or its numbers are no shades, such as heights in a
            float TIFF.
    """
    image = _plain(image, what)
    if image.mode != "RGBA":
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def as_rgba(image: Image.Image, what: str = "") -> Image.Image:
    """The same as RGBA: what is transparent stays so."""
    return _plain(image, what).convert("RGBA")


def as_mask(image: Image.Image, what: str = "") -> Image.Image:
    """A mask of any mode as grey (L): white is where to draw.

    A mask of one colour and a transparency that varies, as brushes leave it, is read from its
    transparency. In any other the transparent parts keep their own colour. 0 and 1 are black and
    white.

    Raises:
        Untrusted: as `as_rgb`.
    """
    image = _plain(image, what)
    grey = np.asarray(image.convert("RGB").convert("L"))
    if image.mode == "RGBA":
        alpha = np.asarray(image.getchannel("A"))
        if alpha.min() < alpha.max() and grey.min() == grey.max():
            grey = alpha
        else:
            ground = float(grey.flat[alpha.argmin()])
            weight = alpha.astype(np.float32) / 255
            grey = (ground + (grey - ground) * weight).round().astype(np.uint8)
    if grey.max() == 1:
        grey = grey * np.uint8(255)
    return Image.fromarray(grey)


def _plain(image: Image.Image, what: str) -> Image.Image:
    """Upright, as RGB, or as RGBA where something may be transparent; never the image given."""
    what = what or str(getattr(image, "filename", "")) or "The picture"
    if not isinstance(image, Image.Image):
        raise Untrusted(
            f"{printable(what)} is a PIL picture, but {type(image).__name__} was given."
        )
    with _quiet(), _sentence(what):
        _check_size(image, what, LARGEST)
        _load(image)
        turn = _TURNS.get(_orientation(image))
        if image.mode.startswith(("I", "F")):
            image = _eight_bits(image, what)
        if image.mode == "LAB":  # the one mode that Pillow does not turn into another itself
            lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            image = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image
        elif image.has_transparency_data:
            if image.mode == "La":
                image = image.convert("LA")
            image = image.convert("RGBA")
        else:
            image = image.convert("RGB")
        return image.transpose(turn) if turn is not None else image


def _load(image: Image.Image) -> None:
    if image.format != "TIFF":
        image.load()
        return
    with _turn:  # libtiff writes what it finds straight to the terminal
        try:
            kept = os.dup(2)
        except OSError:  # closed: nothing is seen there
            image.load()
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            image.load()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


def _give_back_memory() -> None:
    """Each thread keeps what it has freed for itself: gigabytes, after a large picture in each."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # glibc's
        trim(0)


def _check_size(image: Image.Image, what: str, most: int) -> None:
    if not 0 < image.width * image.height <= most:
        raise Untrusted(
            f"{what} has {image.width}x{image.height} pixels, and not between 1 and {most:,}: "
            "give another, or another size of it."
        )


def _check_parts(image: Image.Image, what: str) -> int:
    """Refuse a file in more or larger parts than a picture has; pixels of a part."""
    tags = getattr(image, "tag_v2", None) or {}  # of a TIFF
    width, height = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)
    pixels = width * height if isinstance(width, int) and isinstance(height, int) else 0
    if pixels > LARGEST or len(getattr(image, "tile", ())) > MOST_PARTS:
        raise Untrusted(f"{what} is divided as no picture is: save it anew, as PNG.")
    return pixels


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # the EXIF data are broken; the picture need not be
        return 1


def _eight_bits(image: Image.Image, what: str) -> Image.Image:
    """Grey of 16 bits, of 32 or of fractions, as L, or as LA where one shade is transparent."""
    # In strips, as numpy's copies take several times the picture's memory.
    rows = max(1, 2**20 // image.width)
    tops = range(0, image.height, rows)
    boxes = [(0, top, image.width, min(top + rows, image.height)) for top in tops]
    low, high, whole = np.inf, -np.inf, True
    for box in boxes:
        strip = np.asarray(image.crop(box))
        low, high = np.minimum(low, strip.min()), np.maximum(high, strip.max())  # keeps NaN
        whole = whole and bool((strip == np.floor(strip)).all())
    factor = _factor(image, float(low), float(high), whole)
    if factor is None:
        raise Untrusted(
            f"{what} holds numbers from {low:g} to {high:g}, which are no shades of 8 or 16 bits: "
            "save it with 8 or 16 bits a channel."
        )
    clear = image.info.get("transparency")  # of a PNG
    answer = Image.new("LA" if isinstance(clear, int) else "L", image.size)
    for box in boxes:
        strip = np.asarray(image.crop(box))
        shades = (strip.astype(np.float32) * factor).round().clip(0, 255).astype(np.uint8)
        if answer.mode == "LA":
            shades = np.stack([shades, np.where(strip == clear, 0, 255).astype(np.uint8)], axis=-1)
        answer.paste(Image.fromarray(shades), box[:2])
    return answer


def _factor(image: Image.Image, low: float, high: float, whole: bool) -> float | None:
    """By what the numbers have to be multiplied to become shades from 0 to 255."""
    if image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I"):
        return 255 / 65535
    if image.mode == "F" and low >= -0.01 and high <= 1.01:
        return 255
    if low >= 0 and high <= 255 and (whole or high >= 16):  # Pillow's own L as F; no peak of light
        return 1
    return 255 / 65535 if whole and low >= 0 and high <= 65535 else None


@contextmanager
def _opened(source: Source, what: str) -> Iterator[BinaryIO]:
    if isinstance(source, bytes | memoryview):
        if len(source) > LARGEST_PACKED:
            raise Untrusted(f"{what} has more than {LARGEST_PACKED:,} bytes: give another.")
        with _turn if len(source) > LARGE_PACKED else nullcontext(), io.BytesIO(source) as file:
            yield file
        return
    if isinstance(source, Packed):
        with _unpacked(source, what) as unpacked:
            yield unpacked
        return
    with _sentence(what):
        # Without O_NONBLOCK a pipe that nobody writes to would hang here for ever.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(source, flags)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise Untrusted(f"{what} is no file but a folder, a pipe or a device.")
    with os.fdopen(handle, "rb") as file:
        yield file


@contextmanager
def _unpacked(source: Packed, what: str) -> Iterator[BinaryIO]:
    """What the archive says of a file's size is only said: no more than that is unpacked."""
    with _zip(source, what) as archive:
        about = archive.getinfo(source.member)
    if about.file_size > LARGEST_PACKED:
        raise Untrusted(
            f"{what} names a file of more than {LARGEST_PACKED:,} bytes: unpack the archive, or "
            "take the file out of it."
        )
    if about.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Untrusted(  # zipfile unpacks others without a limit
            f"{what} names a file that is neither stored nor deflated: pack the archive anew."
        )
    with _turn if about.file_size > LARGE_PACKED else nullcontext():
        with _zip(source, what) as archive, archive.open(about) as member:
            content = io.BytesIO(member.read(about.file_size))
        with content:
            yield content


@contextmanager
def _zip(source: Packed, what: str) -> Iterator[zipfile.ZipFile]:
    with _sentence(what), open_plain(source.archive) as file, zipfile.ZipFile(file) as archive:
        yield archive


def _length(file: BinaryIO) -> int:
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    return length


class _Watched(io.RawIOBase):
    """A file that is not read on when a picture takes too long, or when what stands before it is
    too much.

    Decoders in C that are given the whole file are not stopped: their time follows from the number
    of pixels.
    """

    def __init__(self, file: BinaryIO, what: str) -> None:
        self._file, self._what = file, what
        self._ends, self._head = time.thread_time() + SECONDS, LONGEST_HEAD
        self.knows_size = False

    def readinto(self, buffer: Any) -> int:
        if time.thread_time() > self._ends:
            raise Untrusted(
                f"{self._what} takes more than {SECONDS} seconds to decode: save it as PNG."
            )
        if not self.knows_size:
            self._head -= len(buffer)
            if self._head < 0:
                raise Untrusted(f"{self._what} has too much before its pixels: save it as PNG.")
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def readall(self) -> bytes:
        return self._file.read()  # no more than there is

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()


def _of(file: BinaryIO, what: str) -> Image.Image:
    Image.init()
    with _sentence(what):
        try:
            formats = [kind for kind in Image.ID if kind not in REFUSED]
            image = Image.open(file, formats=formats)
            if image.format in ("JPEG", "MPO"):  # few bytes may be a whole pass over the picture
                image.decodermaxblock = FEW
            return image
        except UnidentifiedImageError as error:
            file.seek(0)
            head = file.read(64)
            known = [kind for pattern, kind in _OTHERS if pattern.match(head)]
            reason = f"is {known[0]}" if known else "is of no format that can be read, or empty"
            raise Untrusted(f"{what} is no picture: it {reason}.") from error


@contextmanager
def _sentence(what: str) -> Iterator[None]:
    """Decoders raise what they like."""
    try:
        yield
    except (FileNotFoundError, Untrusted):
        raise
    except Image.DecompressionBombError as error:
        raise Untrusted(
            f"{what} has more than {LARGEST:,} pixels: give another, or another size of it."
        ) from error
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Untrusted(f"{what} cannot be read as a picture ({printable(reason)}).") from error


class _Quiet:
    """Pillow's warnings, its log and its own limit are set aside while any thread reads a picture.

    They belong to the whole process: so the first thread sets them and the last puts them back.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._set_aside()
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    self._put_back()

    def _set_aside(self) -> None:
        self._warnings, self._log = warnings.catch_warnings(), logging.getLogger("PIL")
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        self._level, self._limit = self._log.level, Image.MAX_IMAGE_PIXELS
        self._log.setLevel(logging.CRITICAL + 1)
        Image.MAX_IMAGE_PIXELS = LARGEST // 2  # Pillow refuses twice that

    def _put_back(self) -> None:
        self._warnings.__exit__(None, None, None)
        self._log.setLevel(self._level)
        Image.MAX_IMAGE_PIXELS = self._limit


_quiet = _Quiet()
