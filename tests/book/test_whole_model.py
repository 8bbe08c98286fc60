"""What the page "The whole model in 900 lines" says of the code that it shows."""

import json
import re
from pathlib import Path

import pytest
from live_stage import ENGINE

from companion.zoo import folder
from companion.zoo.export import export

PAGE = (Path(__file__).parents[2] / "book" / "whole_model.md").read_text(encoding="utf-8")
COUNTED = ("kernels.c", "tensors.js", "layers.js", "network.js", "denoise.js")
SHOWN = (*COUNTED, "transformer.js")


def lines(name: str) -> int:
    """Of code: without comments and empty ones."""
    text = (ENGINE / name).read_text(encoding="utf-8")
    text = re.sub(r"^\s*/\*\*.*?\*/$", "", text, flags=re.MULTILINE | re.DOTALL)
    return sum(
        bool(line.strip()) and not line.strip().startswith("//") for line in text.split("\n")
    )


def test_the_page_counts_the_lines_right() -> None:
    c, script = lines("kernels.c"), sum(lines(name) for name in COUNTED if name.endswith(".js"))
    said = re.search(
        r"draws is (\d+) lines: (\d+) of C, .*?and (\d+) of JavaScript", PAGE, re.DOTALL
    )
    assert said
    assert [int(number) for number in said.groups()] == [
        round(count, -1) for count in (c + script, c, script)
    ]
    assert c + script <= 900
    (more,) = re.findall(r"in the UNet's place: it takes (\d+) lines more", PAGE)
    assert int(more) == round(lines("transformer.js"), -1)


@pytest.mark.parametrize("name", SHOWN)
def test_its_lines_have_room_on_a_page(name: str) -> None:
    text = (ENGINE / name).read_text(encoding="utf-8")
    assert [line for line in text.split("\n") if len(line) > 74] == []


@pytest.mark.parametrize("name", SHOWN)
def test_every_part_that_is_shown_is_there(name: str) -> None:
    text = (ENGINE / name).read_text(encoding="utf-8")
    block = r"```{literalinclude} _static/live/engine/" + re.escape(name) + r"\n(.*?)```"
    shown = re.findall(block, PAGE, re.DOTALL)
    assert shown
    for options in shown:
        marks = re.findall(r"^:(?:start-at|end-before): (.*)$", options, re.MULTILINE)
        assert marks
        assert all(mark.strip('"') in text for mark in marks)


def test_the_page_says_how_many_tokens_training_met(tmp_path: Path) -> None:
    export(folder("stable-diffusion"), tmp_path)
    known = json.loads((tmp_path / "model.json").read_text())["known_tokens"]
    assert f"Of the 49,408 tokens that CLIP knows, training met {len(known)}." in PAGE


def test_the_page_says_how_large_the_kernels_are() -> None:
    size = (ENGINE / "kernels.wasm").stat().st_size
    assert f"These kernels have {size / 1000:.0f} kB." in PAGE
