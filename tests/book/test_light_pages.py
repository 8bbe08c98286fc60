"""book/_ext/light_pages.py and cards.py: lighter, and the same to a reader."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import tinycss2
from cards import SIZE, card, description, shortened
from docutils import nodes
from light_pages import IN_A_LINK_OR_NOT, as_webp, opening, purged, taken_out
from PIL import Image

from companion.door.labels import labelled


def png_of(picture: Image.Image, label: bool = False) -> bytes:
    written = io.BytesIO()
    picture.save(written, "PNG", pnginfo=labelled(picture) if label else None)
    return written.getvalue()


@pytest.fixture
def picture() -> Image.Image:
    steps = np.linspace(0, 255, 64).astype(np.uint8)
    return Image.fromarray(np.stack([np.tile(steps, (64, 1))] * 3, axis=-1))


def test_a_picture_loses_bytes_and_no_pixel(picture: Image.Image) -> None:
    webp = as_webp(png_of(picture))
    assert webp is not None
    assert len(webp) < len(png_of(picture))
    assert np.array_equal(Image.open(io.BytesIO(webp)).convert("RGB"), picture)


def test_what_is_transparent_stays_so(picture: Image.Image) -> None:
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    webp = as_webp(png_of(picture))
    assert webp is not None
    assert np.array_equal(Image.open(io.BytesIO(webp)), picture)


def test_a_label_that_a_model_drew_it_stays(picture: Image.Image) -> None:
    webp = as_webp(png_of(picture, label=True))
    assert webp is not None
    assert b"trainedAlgorithmicMedia" in Image.open(io.BytesIO(webp)).info["xmp"]


def test_a_picture_of_16_bits_stays_as_it_is() -> None:
    deep = Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64))
    assert as_webp(png_of(deep)) is None


@pytest.mark.parametrize(
    ("css", "kept"),
    [
        (".here{color:red}", True),
        (".gone{color:red}", False),
        ("a.here .gone{color:red}", False),
        ("a:not(.gone){color:red}", True),
        ("h1{color:red}", True),
        ("@media print{.gone{color:red}}", False),
        ("@media print{.here{color:red}}", True),
        ("@font-face{font-family:x}", True),
    ],
)
def test_a_rule_is_dropped_where_a_class_of_it_is_nowhere(css: str, kept: bool) -> None:
    assert bool(purged(tinycss2.parse_stylesheet(css, True, True), {"here"})) == kept


def test_of_several_selectors_those_that_match_stay() -> None:
    rules = tinycss2.parse_stylesheet(".here,.gone{color:red}", True, True)
    assert purged(rules, {"here"}) == ".here{color:red}"


def test_a_picture_inside_the_text_becomes_a_file(tmp_path: Path, picture: Image.Image) -> None:
    html = f'<img alt="x" src="data:image/png;base64,{base64.b64encode(png_of(picture)).decode()}">'
    html = taken_out(html, tmp_path, "../_images/")
    (written,) = tmp_path.iterdir()
    assert html == f'<img alt="x" src="../_images/{written.name}">'
    assert np.array_equal(Image.open(written).convert("RGB"), picture)


@pytest.mark.parametrize(
    ("html", "after"),
    [
        ('<img src="_images/a.webp">', '<a class="larger" href="_images/a.webp">'),
        ('<a class="image-reference" href="_images/a.webp"><img src="_images/a.webp">', "larger"),
        ('<a href="chapter.html"><img src="_images/a.webp">', '<a href="chapter.html">'),
    ],
)
def test_a_picture_opens_unless_it_leads_elsewhere(html: str, after: str) -> None:
    opened = IN_A_LINK_OR_NOT.sub(opening, html)
    assert after in opened
    assert opened.count("<a") == 1


def test_a_description_is_cut_behind_a_sentence() -> None:
    text = "A sentence of some length that stands first and says what the page has to say. " * 4
    assert shortened(text.strip()).endswith("say.")
    assert len(shortened(text)) <= 200
    assert shortened("word " * 80).endswith("…")


def test_a_box_or_a_table_is_no_description() -> None:
    own = nodes.paragraph(text="What the page itself says first, in more than a few words.")
    said = nodes.paragraph(text="What a box says, in a good deal more than a few words.")
    box = nodes.note("", said)
    page = nodes.section("", box, own)
    assert description(page) == own.astext()
    assert description(None) is None


@pytest.mark.parametrize("size", [(900, 200), (100, 400), (64, 64)])
def test_a_card_has_its_size_whatever_the_picture(size: tuple[int, int]) -> None:
    drawn = card("A title of a page that is long", "A book", Image.new("RGB", (8, 8)), None)
    assert drawn.size == SIZE
    red = Image.new("RGB", size, "red")
    drawn = card("A title", "A book", Image.new("RGB", (8, 8)), red)
    assert (255, 0, 0) in {colour for _, colour in drawn.getcolors(1 << 20) or []}
