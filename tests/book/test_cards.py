"""A chapter's card says the figures of profiles.toml: download and GPU memory."""

import re
from pathlib import Path

import pytest
from chapters import CHAPTERS, every_chapter, source_of

from companion.hub.plan import size
from companion.sources import gpu_memory, sources

NUMBERED = [path for path in CHAPTERS if path.stem[:2].isdigit()]
FIGURE = re.compile(r"[\d.]+ [GM]B")


def row(path: Path, name: str) -> str:
    """The last cell of a row of a chapter's card: what the full profile takes."""
    text = source_of(f"book/{path.stem}").read_text(encoding="utf-8")
    line = re.findall(rf"^\| {name} \|(.+)\|$", text, re.MULTILINE)[0]
    return str(line.split("|")[-1])


@every_chapter
def test_the_card_says_the_gpu_memory_of_the_profile(path: Path) -> None:
    need = gpu_memory("full").get(int(path.stem[:2]) if path in NUMBERED else 0)
    expected = [f"{need / 1e9:.0f} GB"] if need else []
    assert FIGURE.findall(row(path, "GPU memory")) == expected


@pytest.mark.parametrize("path", NUMBERED, ids=[path.stem for path in NUMBERED])
def test_downloads_on_the_card_are_sizes_of_what_the_chapter_loads(path: Path) -> None:
    number = int(path.stem[:2])
    loads = [source for source in sources("full").values() if number in source.chapters]
    said = FIGURE.findall(row(path, "Download"))
    assert set(said) <= {size(source.bytes) for source in loads}
    assert bool(said) is bool(loads)


def test_what_the_hubs_models_take_is_known_for_every_chapter_that_loads_one() -> None:
    loaded_by = {number for source in sources("full").values() for number in source.chapters}
    assert set(gpu_memory("full")) == loaded_by
    assert gpu_memory("small") == {}
