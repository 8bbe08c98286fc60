"""A picture as it was saved becomes the same RGB, or one sentence that names it."""

import io
import logging
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from companion.door import Untrusted, pictures
from companion.door.pictures import (
    REFUSED,
    Packed,
    as_mask,
    as_rgb,
    as_rgba,
    held_picture,
    open_picture,
)

SHADES = np.tile(np.linspace(0, 255, 64).round().astype(np.uint8), (64, 1))


def colours() -> Image.Image:
    image = Image.new("RGB", (32, 32), (40, 90, 200))
    image.paste((255, 200, 0), (0, 0, 32, 8))
    return image


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def off(image: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(image).astype(int) - np.asarray(other)).max())


def eight_at_once(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def empty_png(width: int, height: int) -> bytes:
    """White, one bit a pixel: 176 million of them in 22 kB."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    packer, line = zlib.compressobj(9), b"\0" + b"\xff" * ((width + 7) // 8)
    rows = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "PCX", "SGI", "QOI", "ICO"])
def test_a_picture_of_any_usual_format_is_read(kind: str) -> None:
    assert off(as_rgb(open_picture(saved(colours(), kind), "it")), colours()) == 0


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "JPEG2000", "AVIF", "GIF"])
def test_a_picture_of_a_format_that_loses_is_read(kind: str) -> None:
    found = np.asarray(as_rgb(open_picture(saved(colours(), kind), "it"))).astype(int)
    assert np.abs(found - np.asarray(colours())).mean() < 9


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBX", "RGBa", "CMYK"])
def test_colours_of_another_mode_are_the_same(mode: str) -> None:
    image = colours().convert("RGBA").convert(mode) if mode == "RGBa" else colours().convert(mode)
    assert off(as_rgb(image), colours()) == 0


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "P", "PA", "LAB"])
def test_colours_of_a_mode_that_rounds_are_nearly_the_same(mode: str) -> None:
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(colours(), srgb, lab, outputMode="LAB")
    else:
        image = colours().quantize(8) if mode == "P" else colours().quantize(8).convert("PA")
        image = image if mode.startswith("P") else colours().convert(mode)
    assert image is not None
    assert image.mode == mode
    assert off(as_rgb(image), colours()) < 14


@pytest.mark.parametrize("mode", ["L", "LA", "La", "I", "F"])
def test_grey_of_another_mode_is_the_same(mode: str) -> None:
    grey = Image.fromarray(SHADES)
    image = grey.convert("LA").convert("La") if mode == "La" else grey.convert(mode)
    assert off(as_rgb(image), grey.convert("RGB")) == 0


def test_one_bit_is_black_and_white() -> None:
    image = Image.fromarray(SHADES).convert("1")
    assert set(np.unique(np.asarray(as_rgb(image)))) == {0, 255}


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_sixteen_bits_of_any_order_are_scaled(mode: str) -> None:
    data = (SHADES.astype(np.uint16) * 257).astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    image = Image.frombytes(mode, (64, 64), data)
    assert off(as_rgb(image), Image.fromarray(SHADES).convert("RGB")) == 0


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_files_of_sixteen_bits_are_scaled(kind: str) -> None:
    data = saved(Image.fromarray(SHADES.astype(np.uint16) * 257), kind)
    assert off(as_rgb(open_picture(data, "it")), Image.fromarray(SHADES).convert("RGB")) == 0


def test_a_dark_file_of_sixteen_bits_stays_dark() -> None:
    data = saved(Image.fromarray(SHADES.astype(np.uint16)), "PPM")
    assert np.asarray(as_rgb(open_picture(data, "it"))).max() == 1


def test_a_shade_of_sixteen_bits_that_is_transparent_becomes_white() -> None:
    data = saved(Image.fromarray(SHADES.astype(np.uint16) * 257), "PNG", transparency=0)
    row = np.asarray(as_rgb(open_picture(data, "it")))[0, :, 0]
    assert row.tolist() == [255, *SHADES[0, 1:]]


def test_fractions_from_0_to_1_are_shades() -> None:
    image = Image.fromarray(SHADES.astype(np.float32) / 255)
    assert off(as_rgb(image), Image.fromarray(SHADES).convert("RGB")) == 0


@pytest.mark.parametrize(
    ("low", "high"), [(-200, 4000), (0, 3.5), (0, 1e9), (0, np.nan), (0, np.inf)]
)
def test_numbers_that_are_no_shades_are_refused_by_name(low: float, high: float) -> None:
    values = np.array([[low, high], [0.5, 0.25]], dtype=np.float32)
    with pytest.raises(Untrusted, match=r"^heights\.tif holds numbers from .* no shades"):
        as_rgb(open_picture(saved(Image.fromarray(values), "TIFF"), "it"), "heights.tif")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    if mode == "LA":
        image = image.convert("LA")
    elif mode in ("P", "RGB"):
        image = Image.new(mode, (8, 8), 0)
        image.info["transparency"] = 0 if mode == "P" else (0, 0, 0)
    assert np.unique(np.asarray(as_rgb(image))).tolist() == [255]


def test_what_is_transparent_stays_so_where_that_is_asked_for() -> None:
    assert as_rgba(Image.new("LA", (1, 1), (7, 9))).getpixel((0, 0)) == (7, 7, 7, 9)


@pytest.mark.parametrize(
    ("number", "as_stored"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_90),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_a_photograph_is_turned_as_its_camera_says(number: int, as_stored: int) -> None:
    upright, exif = colours().resize((32, 16)), Image.Exif()
    upright.putpixel((0, 0), (1, 2, 3))
    exif[0x0112] = number
    opened = open_picture(saved(upright.transpose(as_stored), "PNG", exif=exif), "it")
    assert off(as_rgb(opened), upright) == 0


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"rubbish"])
def test_broken_exif_data_do_not_matter(exif: bytes) -> None:
    opened = open_picture(saved(colours(), "PNG", exif=exif), "it")
    assert off(as_rgb(opened), colours()) == 0


def test_the_picture_that_was_given_stays_as_it_is() -> None:
    image = colours()
    as_rgb(image).paste("red", (0, 0, 32, 32))
    assert off(image, colours()) == 0


def test_of_an_animation_the_first_picture_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("green", "red", "red")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        red, green, _ = np.asarray(as_rgb(open_picture(data, "it")))[4, 4]
        assert green > 100 > red


def brush(paint: int, ground: tuple[int, int]) -> Image.Image:
    """Paint on the left half of a layer, as (shade, alpha)."""
    layer = Image.new("LA", (8, 8), ground)
    layer.paste((paint, 255), (0, 0, 4, 8))
    return layer.convert("RGBA")


@pytest.mark.parametrize(
    "mask",
    [
        brush(255, (255, 0)),
        brush(255, (0, 0)),
        brush(255, (0, 255)),
        brush(0, (0, 0)),
        brush(255, (0, 255)).convert("RGB"),
        brush(255, (0, 255)).convert("1"),
        brush(255, (0, 255)).convert("P"),
        brush(255, (0, 255)).convert("L").point(lambda shade: shade // 255),
        brush(255, (0, 255)).convert("L").convert("I").point(lambda shade: shade * 257),
        Image.fromarray(np.repeat([[1.0, 0.0]], 4, axis=1).repeat(8, axis=0).astype(np.float32)),
    ],
    ids=[
        "white-on-clear",
        "white-on-clear-black",
        "grey-with-alpha",
        "black-on-clear",
        "rgb",
        "one-bit",
        "palette",
        "0-and-1",
        "16-bit",
        "fractions",
    ],
)
def test_a_mask_as_programs_save_it_is_white_where_to_draw(mask: Image.Image) -> None:
    found = as_mask(mask)
    assert found.mode == "L"
    assert np.asarray(found)[0].tolist() == [255] * 4 + [0] * 4


def test_a_soft_brush_is_a_soft_mask() -> None:
    layer = Image.new("LA", (8, 8), (0, 0))
    layer.paste((255, 100), (0, 0, 4, 8))
    assert np.asarray(as_mask(layer))[0].tolist() == [100] * 4 + [0] * 4


def test_a_mask_that_is_black_where_it_can_be_seen_is_not_turned_round() -> None:
    assert np.asarray(as_mask(brush(0, (255, 0))))[0].tolist() == [0] * 4 + [255] * 4


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "of no format"),
        (b"not a picture", "of no format"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "HEIC"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"%PDF-1.4", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 24\n", "PostScript"),
        (saved(colours(), "PNG")[:80], "cannot be read as a picture"),
        (empty_png(13300, 13300), "has more than 134,217,728 pixels"),
    ],
)
def test_what_is_no_picture_is_named_with_the_reason(content: bytes, sentence: str) -> None:
    with pytest.raises(Untrusted, match=rf"^row 3 .*{sentence}"):
        open_picture(content, "row 3")


def test_what_starts_a_program_or_unpacks_without_a_limit_is_not_opened() -> None:
    Image.init()
    assert {"EPS", "IPTC", "FITS", "WMF"} <= REFUSED


def test_a_file_that_is_not_there_is_a_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_picture(tmp_path / "nowhere.png", "it")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_a_pipe_a_folder_and_a_device_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for place in (tmp_path / "pipe.png", tmp_path, Path("/dev/zero")):
        with pytest.raises(Untrusted, match=r"^it is no file"):
            open_picture(place, "it")


def test_an_image_that_was_opened_lazily_and_is_cut_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(saved(Image.effect_noise((64, 64), 9), "PNG")[:900])
    for turned in (as_rgb, as_rgba, as_mask):
        with pytest.raises(Untrusted, match=r"cut\.png cannot be read"):
            turned(Image.open(tmp_path / "cut.png"))


def test_a_closed_image_is_a_sentence() -> None:
    image = Image.open(io.BytesIO(saved(colours(), "PNG")))
    image.close()
    with pytest.raises(Untrusted, match="The picture cannot be read"):
        as_rgb(image)


def test_codes_in_a_decoders_sentence_are_written_out() -> None:
    with pytest.raises(Untrusted) as caught:
        open_picture(b"P6\n\x1b[31m 2\n255\n", "it")
    assert "\x1b" not in str(caught.value)


def test_a_large_photograph_comes_out_smaller_where_that_will_do() -> None:
    data = saved(Image.new("RGB", (1600, 800)), "JPEG")
    with held_picture(data, "it", side=64) as image:
        assert image.size == (267, 134) or image.size == (200, 100) or image.size == (400, 200)
    assert open_picture(data, "it").size == (1600, 800)


def test_of_large_pictures_one_is_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("companion.door.pictures.LARGE", 100)
    data, inside, most = saved(colours(), "PNG"), 0, 0

    def hold() -> None:
        nonlocal inside, most
        with held_picture(data, "it"):
            inside += 1
            most = max(most, inside)
            threading.Event().wait(0.01)
            inside -= 1

    eight_at_once(hold)
    assert most == 1


def test_a_picture_in_another_is_held_to_the_same_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("companion.door.pictures.LARGEST", 1000)
    inner = saved(Image.new("L", (40, 40)), "PNG")
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
    with pytest.raises(Untrusted, match="it has more than 1,000 pixels"):
        open_picture(struct.pack("<HHH", 0, 1, 1) + entry + inner, "it")


@pytest.mark.parametrize("kind", ["WEBP", "JPEG2000", "AVIF"])
def test_of_formats_that_take_much_memory_fewer_pixels_are_read(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setitem(pictures._MOST, kind, 255)
    data = saved(Image.new("RGB", (16, 16)), kind)
    with pytest.raises(Untrusted, match="it has 16x16 pixels, and not between 1 and 255"):
        open_picture(data, "it")


def tiff(**tags: list[int]) -> bytes:
    """A grey TIFF of 16x16 pixels that says of itself what the tags say."""
    numbers = {"width": 256, "height": 257, "bits": 258, "packed": 259, "grey": 262}
    numbers |= {"offsets": 273, "rows": 278, "tile_width": 322, "tile_height": 323, "tiles": 324}
    own = {"width": [16], "height": [16], "bits": [8], "packed": [1], "grey": [1], **tags}
    entries, after = b"", b""
    for name, values in sorted(own.items(), key=lambda tag: numbers[tag[0]]):
        content = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            offset = 8 + 2 + 12 * len(own) + 4 + len(after)
            after, content = after + content, struct.pack("<I", offset)
        entries += struct.pack("<HHI", numbers[name], 4, len(values)) + content
    head = b"II*\0" + struct.pack("<IH", 8, len(own))
    return head + entries + bytes(4) + after + bytes(256)


def test_a_note_as_long_as_a_large_picture_is_read(tmp_path: Path) -> None:
    note = PngInfo()
    note.add_text("note", "x" * 20_000_000)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=note)
    assert len(open_picture(tmp_path / "a.png", "it").info["note"]) == 20_000_000


def test_a_small_picture_in_huge_or_countless_parts_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert open_picture(tiff(offsets=[8], rows=[16]), "it").size == (16, 16)
    huge = tiff(tile_width=[2**14], tile_height=[2**14], tiles=[8], packed=[8])
    for data in (huge, tiff(offsets=[8] * (2**18 + 1), rows=[1])):
        with pytest.raises(Untrusted, match="it is divided as no picture is"):
            open_picture(data, "it")
    monkeypatch.setattr(pictures, "LONGEST_HEAD", 2**16)
    with pytest.raises(Untrusted, match="it has too much before its pixels"):
        open_picture(tiff(offsets=[8] * 2**15, rows=[1]), "it")


def test_a_picture_that_is_drawn_over_again_and_again_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each pass over a progressive JPEG takes a few bytes of file, and time for all its pixels."""
    data = saved(Image.new("L", (2048, 2048)), "JPEG", progressive=True)
    passes = data[data.rindex(b"\xff\xc4") : -2]
    monkeypatch.setattr(pictures, "SECONDS", 1)
    assert open_picture(data, "it").size == (2048, 2048)
    with pytest.raises(Untrusted, match=r"it takes more than 1 seconds to decode"):
        open_picture(data[:-2] + passes * 5000 + data[-2:], "it")


def test_bytes_that_are_too_many_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(colours(), "PNG")
    assert open_picture(memoryview(data), "it").tobytes() == colours().tobytes()
    monkeypatch.setattr(pictures, "LARGEST_PACKED", len(data) - 1)
    for source in (data, memoryview(data)):
        with pytest.raises(Untrusted, match=r"it has more than .* bytes: give another"):
            open_picture(source, "it")


# Not getrusage: what it calls the largest size may be that of the process that started this one.
BOMBS = """
import re, sys
from pathlib import Path
from companion.training import load_pictures
load_pictures(sys.argv[1], 16)
print(re.search("VmHWM: *(.*) kB", Path("/proc/self/status").read_text().replace("\t", " "))[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_six_bombs_in_an_archive_take_the_memory_of_one(tmp_path: Path) -> None:
    bomb = io.BytesIO()
    Image.new("1", (11585, 11585)).save(bomb, "PNG")
    (tmp_path / "mine").mkdir()
    with zipfile.ZipFile(tmp_path / "mine" / "a.zip", "w") as archive:
        for number in range(6):
            archive.writestr(f"{number}.png", bomb.getvalue())
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BOMBS, tmp_path / "mine"],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        check=True,
    )
    assert int(answer.stdout) < 1.6e6  # kB: 0.5 GB are the libraries


def test_pillow_is_as_it_was_after_many_threads_and_says_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    odd = saved(Image.new("P", (8, 8)), "PNG", transparency=bytes(3))
    before = (Image.MAX_IMAGE_PIXELS, logging.getLogger("PIL").level, warnings.filters[:])

    def read() -> None:
        for _ in range(20):
            as_rgb(open_picture(odd, "it"))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        eight_at_once(read)
        read()
    assert (Image.MAX_IMAGE_PIXELS, logging.getLogger("PIL").level, warnings.filters) == before
    assert capfd.readouterr() == ("", "")


def test_the_library_for_tiff_does_not_write_to_the_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    data = bytearray(saved(Image.fromarray(noise), "TIFF", compression="tiff_deflate"))
    data[8:16] = b"\xff" * 8  # where the packed rows begin: no such packing
    with pytest.raises(Untrusted):
        open_picture(bytes(data), "it")
    assert capfd.readouterr() == ("", "")


def small(kind: str) -> bytes:
    modes = {"TIFF": "I;16", "WEBP": "RGBA", "TGA": "RGBA", "PCX": "L", "GIF": "P"}
    return saved(colours().convert("L").convert(modes.get(kind, "RGB")), kind)


KINDS = [
    "PNG",
    "JPEG",
    "GIF",
    "BMP",
    "TIFF",
    "PPM",
    "WEBP",
    "JPEG2000",
    "ICO",
    "TGA",
    "DDS",
    "AVIF",
]
WHOLE = {kind: small(kind) for kind in KINDS}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.sampled_from(KINDS),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8),
    st.floats(0.1, 1),
)
def test_a_spoiled_picture_is_read_or_named(
    kind: str, changes: list[tuple[float, int]], part: float
) -> None:
    data = bytearray(WHOLE[kind])
    for place, value in changes:
        data[int(place * len(data))] = value
    try:
        image = open_picture(bytes(data[: int(part * len(data))]), "row 3")
        for turned in (as_rgb, as_mask):
            assert turned(image, "row 3").size in (image.size, image.size[::-1])
    except Untrusted as error:
        assert str(error).startswith("row 3 ")  # noqa: PT017


def packed(place: Path, content: bytes, kind: int = zipfile.ZIP_DEFLATED) -> Packed:
    with zipfile.ZipFile(place, "w", kind) as archive:
        archive.writestr("a.png", content)
    return Packed(place, "a.png")


def test_a_picture_in_an_archive_is_opened(tmp_path: Path) -> None:
    source = packed(tmp_path / "a.zip", saved(colours(), "PNG"))
    assert open_picture(source, "it").tobytes() == colours().tobytes()


def test_a_file_in_an_archive_is_neither_too_large_nor_packed_without_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = saved(colours(), "PNG")
    with pytest.raises(Untrusted, match="it names a file that is neither stored nor deflated"):
        open_picture(packed(tmp_path / "b.zip", content, zipfile.ZIP_BZIP2), "it")
    monkeypatch.setattr("companion.door.pictures.LARGEST_PACKED", len(content) - 1)
    with pytest.raises(Untrusted, match=r"it names a file of more than .* bytes: unpack"):
        open_picture(packed(tmp_path / "a.zip", content), "it")


def test_what_an_archive_says_of_a_size_is_the_most_that_is_unpacked(tmp_path: Path) -> None:
    source = packed(tmp_path / "a.zip", bytes(2**26))
    content = source.archive.read_bytes()
    source.archive.write_bytes(content.replace(struct.pack("<I", 2**26), struct.pack("<I", 100)))
    tracemalloc.start()
    with pytest.raises(Untrusted, match=r"it cannot be read|it is no picture"):
        open_picture(source, "it")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_of_large_files_in_archives_one_at_a_time_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("companion.door.pictures.LARGE_PACKED", 10)
    inside, most = 0, 0

    def slow(file: io.BytesIO, what: str) -> Image.Image:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        threading.Event().wait(0.01)
        inside -= 1
        raise Untrusted("It is no picture.")

    monkeypatch.setattr("companion.door.pictures._of", slow)
    source = packed(tmp_path / "a.zip", bytes(99))

    def read() -> None:
        with pytest.raises(Untrusted):
            open_picture(source, "it")

    eight_at_once(read)
    assert most == 1
