"""What the build lays beside the pages for the stages to load."""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from live_stage import ENGINE, SCRIPTS, packed_files, write_pieces
from safetensors.numpy import load

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
    sizes = {path.name: path.stat().st_size for path in pieces.glob("*-*.js")}
    for name, about in manifest["files"].items():
        own = [sizes.pop(f"{name}-{number}.js") for number in range(about["pieces"])]
        assert about["size"] == sum(own)
        assert max(own) < 16 * 2**20  # what a host takes in one file
    assert not sizes


def loaded(manifest: dict[str, Any], *models: str) -> int:
    """Bytes that a page loads which draws with these models."""
    parts = [manifest["models"][name] for name in models]
    names = {"engine", "kernels", "merges"} | {part["model"] for part in parts}
    names |= {name for part in parts for name in part["weights"]}
    return sum(manifest["files"][name]["size"] for name in names)


def test_a_page_loads_no_more_than_it_draws_with(manifest: dict[str, Any]) -> None:
    both = loaded(manifest, "stable-diffusion", "flow")
    assert loaded(manifest, "stable-diffusion") < 18e6
    assert both < 40e6
    assert both == sum(about["size"] for about in manifest["files"].values())


def test_weights_that_two_models_share_travel_once(pieces: Path, manifest: dict[str, Any]) -> None:
    parts = {
        name: load(put_together(pieces, name, manifest["files"][name]["pieces"]))
        for name in ("vae", "weights", "flow-weights")
    }
    assert all(name.startswith("vae.") for name in parts["vae"])
    assert not [
        name for one in ("weights", "flow-weights") for name in parts[one] if "vae." in name
    ]
    for own in ("weights", "flow-weights"):
        assert "text_encoder.final_layer_norm.weight" in parts[own]


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
    assert model["defaults"]["shift"] > 0


def test_every_script_of_the_engine_travels() -> None:
    assert sorted(SCRIPTS) == sorted(path.stem for path in ENGINE.glob("*.js"))
