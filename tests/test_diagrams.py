"""The drawn diagrams: what `companion.figures.diagram` shows, and whether one can read it."""

import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from PIL import ImageFont

import draw_diagrams
from companion import figures

SVG = "{http://www.w3.org/2000/svg}"
PHONE, LEAST = 360, 10  # pixels: a narrow column, and the smallest letters in it
# The grounds and inks of the book (sphinx-book-theme), JupyterLab and Colab, light and dark.
THEMES = {
    "book, light": ("#ffffff", "#222832"),
    "book, dark": ("#121212", "#ced6dd"),
    "JupyterLab, dark": ("#111111", "#ffffff"),
    "Colab, dark": ("#383838", "#d5d5d5"),
}
TEXT, SHAPE = 4.5, 3  # WCAG 2's contrast of small texts, and of lines that carry meaning

every_diagram = pytest.mark.parametrize("name", draw_diagrams.DIAGRAMS)
every_theme = pytest.mark.parametrize("theme", THEMES)


def tree(name: str) -> ElementTree.Element:
    return ElementTree.fromstring(figures.diagram(name).svg)


def channels(colour: str) -> list[float]:
    return [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]


def luminance(colour: list[float]) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: list[float], other: list[float]) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def seen(colour: str, ink: str) -> list[float]:
    """What a page that sets nothing makes of a colour of a diagram."""
    if colour == "currentColor":
        return channels(ink)
    found = re.fullmatch(r"var\(--diagram-[a-z]+, (#[0-9a-f]{6})\)", colour)
    assert found, f"{colour} is neither the text's colour nor one that a page may set"
    return channels(found[1])


def wide_font(size: int) -> ImageFont.FreeTypeFont:
    """Debian's sans-serif, wider than those of other systems."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / "DejaVuSans.ttf", size)


def over(colour: list[float], opacity: float, ground: list[float]) -> list[float]:
    return [opacity * c + (1 - opacity) * g for c, g in zip(colour, ground, strict=True)]


def test_the_stored_diagrams_are_what_the_script_draws() -> None:
    stored = {path.stem: path.read_text("utf-8") for path in draw_diagrams.FOLDER.glob("*.svg")}
    drawn = {name: draw().svg() for name, draw in draw_diagrams.DIAGRAMS.items()}
    assert stored == drawn, "run `python tools/draw_diagrams.py`"


@every_diagram
def test_a_diagram_says_what_it_shows_to_who_does_not_see_it(name: str) -> None:
    drawing = tree(name)
    assert drawing.get("role") == "img"
    title, words = drawing[0], drawing[1]
    assert (title.tag, words.tag) == (f"{SVG}title", f"{SVG}desc")
    assert len(title.text or "") > 10
    assert len(words.text or "") > 100


@every_diagram
def test_letters_of_a_diagram_are_legible_on_a_phone(name: str) -> None:
    drawing = tree(name)
    width = float((drawing.get("viewBox") or "").split()[2])
    sizes = [float(element.get("font-size", "99")) for element in drawing.iter()]
    assert min(sizes) * PHONE / width >= LEAST


@every_diagram
def test_nothing_of_a_diagram_lies_beyond_its_edge(name: str) -> None:
    drawing = tree(name)
    _, _, width, height = map(float, (drawing.get("viewBox") or "").split())
    for box in drawing.iter(f"{SVG}rect"):
        x, y, across, down = (float(box.get(key, "")) for key in ("x", "y", "width", "height"))
        assert 0 <= x <= x + across <= width
        assert 0 <= y <= y + down <= height
    for text in drawing.iter(f"{SVG}text"):
        size = round(float(text.get("font-size", drawing.get("font-size", ""))))
        length = wide_font(size).getlength(text.text or "")
        left = float(text.get("x", "")) - length * (text.get("text-anchor") == "middle") / 2
        assert 0 <= left <= left + length <= width, text.text
        assert 0 < float(text.get("y", "")) < height - 4, text.text


@every_theme
@every_diagram
def test_texts_and_lines_stand_out_from_every_ground(name: str, theme: str) -> None:
    page, ink = THEMES[theme]
    drawing, ground = tree(name), channels(page)
    grounds = [ground]
    for box in drawing.iter(f"{SVG}rect"):
        if (stroke := box.get("stroke")) is not None:
            assert contrast(seen(stroke, ink), ground) >= SHAPE
            if (fill := box.get("fill", "none")) != "none":
                opacity = float(box.get("fill-opacity", 1))
                grounds.append(over(seen(fill, ink), opacity, ground))
    for line in drawing.iter(f"{SVG}polyline"):
        assert contrast(seen(line.get("stroke", ""), ink), ground) >= SHAPE
    for text in drawing.iter(f"{SVG}text"):
        worst = min(contrast(seen(text.get("fill", ""), ink), under) for under in grounds)
        assert worst >= TEXT, text.text


@pytest.mark.parametrize("colour", ["#000000", "red", "var(--diagram-learned)"])
def test_a_colour_that_only_some_grounds_show_is_found(colour: str) -> None:
    with pytest.raises(AssertionError, match="neither"):
        seen(colour, "#222832")


@every_diagram
def test_two_diagrams_on_one_page_do_not_disturb_each_other(name: str) -> None:
    svg = figures.diagram(name).svg
    assert not re.search(r"\bid=|<style|url\(", svg)


@every_diagram
def test_a_diagram_fetches_nothing(name: str) -> None:
    addresses = set(re.findall(r"https?://[^\"<]+", figures.diagram(name).svg))
    assert addresses == {"http://www.w3.org/2000/svg"}


def test_a_notebook_shows_the_drawing_inline_with_its_caption() -> None:
    html = figures.diagram("stable-diffusion", caption="Parts & arrows")._repr_html_()
    figure = ElementTree.fromstring(html)
    assert [child.tag for child in figure] == [f"{SVG}svg", "figcaption"]
    assert figure[1].text == "Parts & arrows"


def test_without_a_caption_there_is_no_empty_one() -> None:
    assert "figcaption" not in figures.diagram("stable-diffusion")._repr_html_()


@pytest.mark.parametrize("name", ["nothing", "", "../figures", None, 3])
def test_an_unknown_diagram_is_answered_with_those_that_there_are(name: object) -> None:
    with pytest.raises(ValueError, match=r"^There is no diagram .*: there are .*stable-diffusion"):
        figures.diagram(name)  # type: ignore[arg-type]


def test_a_caption_that_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="caption is 3, but it is a text"):
        figures.diagram("stable-diffusion", caption=3)  # type: ignore[arg-type]


def test_the_drawings_lie_in_the_package() -> None:
    """And so in the wheel: `tests/test_packaging.py` holds every file of the package to it."""
    assert Path(figures.__file__).parent in figures.DIAGRAMS.parents
    drawn = {path.name: path.read_bytes() for path in draw_diagrams.FOLDER.glob("*.svg")}
    assert drawn
    assert {path.name: path.read_bytes() for path in figures.DIAGRAMS.glob("*.svg")} == drawn
