"""Draw the floors of the house, for CONTRIBUTING.md: its rooms, and what each imports.

    python tools/floors.py   # writes book/images/floors.svg

The floors are the contract in pyproject.toml, a room's words the first sentence of its docstring,
and what it imports is read from the code.
"""

import ast
import textwrap
import tomllib
from pathlib import Path

import grimp

import drawing

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "companion"
PICTURE = ROOT / "book" / "images" / "floors.svg"
WIDTH, MARGIN, GAP = 1000, 16, 14  # in the picture's units
LINE, LETTER = 15, 6.6  # height of a line of text, and what a letter of it takes on average
WORDS = "#3b4a5a"


def floors() -> list[list[str]]:
    """The rooms of each floor, from the roof down."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = table["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "floors")
    return [[room.strip() for room in floor.split("|")] for floor in layers]


def summary(room: str) -> str:
    """The first sentence of a room's docstring."""
    folder = PACKAGE / room
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].replace("`", "").split())


def imports(rooms: list[str]) -> dict[str, list[str]]:
    """What each room imports, in the order of the floors."""
    graph = grimp.build_graph("companion", cache_dir=None)
    for room in rooms:
        graph.squash_module(f"companion.{room}")
    found = {room: graph.find_modules_directly_imported_by(f"companion.{room}") for room in rooms}
    return {
        room: [lower for lower in rooms if lower != room and f"companion.{lower}" in found[room]]
        for room in rooms
    }


def draw() -> str:
    """The picture, as SVG."""
    house = floors()
    imported = imports([room for floor in house for room in floor])
    boxes, top = [], MARGIN
    for floor in house:
        width = (WIDTH - 2 * MARGIN - GAP * (len(floor) - 1)) / len(floor)
        letters = int((width - 20) / LETTER)
        words = [textwrap.wrap(summary(room), letters) for room in floor]
        below = [textwrap.wrap("↓ " + ", ".join(imported[room]), letters) for room in floor]
        lines = max(len(each) for each in words) + max(len(each) for each in below)
        height = 30 + LINE * lines
        for number, room in enumerate(floor):
            left = MARGIN + number * (width + GAP)
            boxes += [
                drawing.box(left, top, width, height, rx=6, fill="#ffffff", stroke=WORDS),
                drawing.text(
                    left + 10, top + 19, room, font_weight="bold", font_size=14, fill="#1d2a36"
                ),
            ]
            rows = [(line, WORDS) for line in words[number]]
            rows += [(line, "#0b6e4f") for line in below[number] if imported[room]]
            boxes += [
                drawing.text(left + 10, top + 37 + LINE * row, line, fill=colour)
                for row, (line, colour) in enumerate(rows)
            ]
        top += height + GAP
    whole = top - GAP + MARGIN
    return drawing.picture(
        (WIDTH, whole),
        "The rooms of companion by floor, each with what it imports",
        [drawing.box(0, 0, WIDTH, whole, fill="#f4f1ea"), *boxes],
        font_family="sans-serif",
        font_size=12,
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"Written to {PICTURE.relative_to(ROOT)}.")
