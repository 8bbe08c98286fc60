"""A picture that a model drew says so, and a stock tool reads it."""

import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from companion.door.labels import XMP_KEY, Origin, labelled, save_labelled
from companion.figures import save_enlarged
from exiftool import read_with_exiftool, warnings_of_exiftool

RED = Image.new("RGB", (8, 8), "red")
SOURCE, AIGC = "XMP-iptcExt:DigitalSourceType", "XMP-TC260:Aigc"
VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@pytest.mark.parametrize("origin", Origin)
def test_a_stock_tool_reads_both_marks(tmp_path: Path, origin: Origin) -> None:
    path = tmp_path / "一 picture.png"
    save_labelled(RED, path, origin)
    found = read_with_exiftool(path)
    assert found[SOURCE] == VOCABULARY + origin
    aigc = json.loads(found[AIGC])
    assert list(aigc) == [
        "Label",
        "ContentProducer",
        "ProduceID",
        "ReservedCode1",
        "ContentPropagator",
        "PropagateID",
        "ReservedCode2",
    ]
    assert aigc["Label"] == "1"
    assert all(isinstance(value, str) for value in aigc.values())
    assert warnings_of_exiftool(path) == "OK"


def test_values_are_of_the_signs_that_the_standard_takes(tmp_path: Path) -> None:
    save_labelled(RED, tmp_path / "red.png")
    for value in json.loads(read_with_exiftool(tmp_path / "red.png")[AIGC]).values():
        assert not set(value) - set(map(chr, range(0x21, 0x7F))) - {'"', "\\"}


def test_the_number_is_the_contents_own() -> None:
    def number(picture: Image.Image) -> str:
        file = io.BytesIO()
        save_labelled(picture, file)
        file.seek(0)
        with Image.open(file) as read:
            packet = ElementTree.fromstring(read.info[XMP_KEY])
        (aigc,) = packet.iter("{http://www.tc260.org.cn/ns/AIGC/1.0/}AIGC")
        return str(json.loads(aigc.text or "")["ProduceID"])

    wide, tall = Image.new("L", (4, 2)), Image.new("L", (2, 4))
    several = [RED, Image.new("RGB", (8, 8), "blue"), wide, tall, Image.new("1", (8, 8))]
    numbers = [number(picture) for picture in several]
    assert len(set(numbers)) == len(several)
    assert number(RED.copy()) == numbers[0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "P", "RGB", "RGBA"])
def test_the_pixels_stay_whatever_the_mode(mode: str) -> None:
    picture, file = Image.new(mode, (5, 3)), io.BytesIO()
    save_labelled(picture, file, optimize=True)
    file.seek(0)
    with Image.open(file) as read:
        assert np.array_equal(np.asarray(read), np.asarray(picture))
        assert read.info[XMP_KEY].count("DigitalSourceType>") == 2


def test_other_texts_stay_beside_the_label() -> None:
    note = PngInfo()
    note.add_text("Title", "red")
    file = io.BytesIO()
    RED.save(file, "PNG", pnginfo=labelled(RED, note=note))
    file.seek(0)
    with Image.open(file) as read:
        assert read.info["Title"] == "red"
        assert XMP_KEY in read.info


def test_an_enlarged_sheet_says_what_it_holds(tmp_path: Path) -> None:
    for origin in (Origin.BESIDE, Origin.DRAWN):
        save_enlarged(RED, tmp_path / "red.png", 2, origin)
        assert read_with_exiftool(tmp_path / "red.png")[SOURCE] == VOCABULARY + origin
