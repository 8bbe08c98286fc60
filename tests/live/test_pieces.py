"""What the build lays beside the pages for the stages to load."""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from live_stage import ENGINE, SCRIPTS, packed_files, write_pieces

from companion.scenes import subset


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("pieces")
    write_pieces(to)
    return to


@pytest.fixture(scope="module")
def manifest(pieces: Path) -> dict[str, Any]:
    script = (pieces / "manifest.js").read_text()
    told = re.fullmatch(r"Live\.manifest\((.*)\);\n", script)
    assert told
    return json.loads(told[1])


def put_together(pieces: Path, name: str, count: int) -> bytes:
    text = ""
    for number in range(count):
        script = (pieces / f"{name}-{number}.js").read_text()
        told = re.fullmatch(rf'Live\.piece\("{name}", {number}, "([A-Za-z0-9+/=]+)"\);\n', script)
        assert told
        text += told[1]
    return gzip.decompress(base64.b64decode(text))


def test_the_pieces_give_each_file_again(pieces: Path, manifest: dict[str, Any]) -> None:
    files = packed_files()
    assert set(files) == set(manifest["files"])
    for name, about in manifest["files"].items():
        assert put_together(pieces, name, about["pieces"]) == files[name]
        assert about["bytes"] == len(files[name])


def test_the_manifest_says_how_much_is_loaded(pieces: Path, manifest: dict[str, Any]) -> None:
    sizes = [path.stat().st_size for path in pieces.glob("*-*.js")]
    assert manifest["total"] == sum(sizes)
    assert len(sizes) == sum(about["pieces"] for about in manifest["files"].values())
    # One budget: what a reader loads, and what a host takes in one file.
    assert manifest["total"] < 20e6
    assert max(sizes) < 16 * 2**20


def test_the_same_model_gives_the_same_pieces(pieces: Path, tmp_path: Path) -> None:
    write_pieces(tmp_path)
    for path in pieces.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_stage_offers_the_words_that_the_model_was_trained_on(manifest: dict[str, Any]) -> None:
    model = manifest["model"]
    assert tuple(model["objects"]) == subset("stable-diffusion").objects
    assert {"red", "orange"} < set(model["backgrounds"])
    assert "next to" in model["relations"]
    assert model["size"] == 64
    assert model["defaults"]["sampler"] in model["samplers"]


def test_every_script_of_the_engine_travels() -> None:
    assert sorted(SCRIPTS) == sorted(path.stem for path in ENGINE.glob("*.js"))
