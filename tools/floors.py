"""Draw the floors of the house, for CONTRIBUTING.md: its rooms, and what each imports.

    python tools/floors.py   # writes book/images/floors.svg

The floors are the contract in pyproject.toml, a room's words the first sentence of its docstring,
and what it imports is read from the code.
"""

import ast
import textwrap
import tomllib
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "companion"
PICTURE = ROOT / "book" / "images" / "floors.svg"
WIDTH, MARGIN, GAP = 1000, 16, 14  # in the picture's units
LINE, LETTER = 15, 6.6  # height of a line of text, and what a letter of it takes on average


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
            boxes.append(
                f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{height}" rx="6" '
                f'fill="#ffffff" stroke="#3b4a5a"/>\n'
                f'<text x="{left + 10:.1f}" y="{top + 19}" font-weight="bold" font-size="14" '
                f'fill="#1d2a36">{room}</text>'
            )
            rows = [(line, "#3b4a5a") for line in words[number]]
            rows += [(line, "#0b6e4f") for line in below[number] if imported[room]]
            boxes += [
                f'<text x="{left + 10:.1f}" y="{top + 37 + LINE * row}" fill="{colour}">'
                f"{escape(line)}</text>"
                for row, (line, colour) in enumerate(rows)
            ]
        top += height + GAP
    whole = top - GAP + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {whole}" '
            'font-family="sans-serif" font-size="12">',
            "<title>The rooms of companion by floor, each with what it imports</title>",
            f'<rect width="{WIDTH}" height="{whole}" fill="#f4f1ea"/>',
            *boxes,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"Written to {PICTURE.relative_to(ROOT)}.")
