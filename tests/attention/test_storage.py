"""Maps in a file come back as they were."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from companion.attention import HeatMaps, load, save, trace

Draw = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def maps(loaded: Any, draw: Draw) -> HeatMaps:
    with trace(loaded, by=("step", "head")) as maps:
        draw(loaded, ["a cat on a blue background", "a rocket above a moon"], guidance_scale=4.0)
    return maps


@pytest.fixture(scope="module")
def file(maps: HeatMaps, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "maps.safetensors"
    save(maps, path, seed=7, model="the zoo's")
    return path


def test_maps_are_the_same(maps: HeatMaps, file: Path) -> None:
    loaded = load(file)
    for asked in ({}, {"step_idx": 1}, {"head_idx": 1, "image_idx": 1}, {"factors": {2}}):
        ours, theirs = (one.compute_global_heat_map(**asked) for one in (loaded, maps))
        assert torch.equal(ours.heat_maps, theirs.heat_maps)
        assert ours.tokens == theirs.tokens


def test_words_are_found_without_a_tokenizer(file: Path) -> None:
    heat_map = load(file).compute_global_heat_map(image_idx=1)
    assert [one.word for one in heat_map.word_heat_maps()] == heat_map.prompt.split()
    with pytest.raises(ValueError, match="but not 'a dog'"):
        load(file).compute_global_heat_map("a dog")


def test_prompt_seed_and_settings_are_there(maps: HeatMaps, file: Path) -> None:
    loaded = load(file)
    assert loaded.settings == {
        "pipeline": "StableDiffusionPipeline",
        "negative": False,
        "guidance_scale": 4.0,
        "model": "the zoo's",
        "seed": 7,
    }
    assert loaded.timesteps == maps.timesteps
    assert loaded.prompts == maps.prompts
    assert loaded.layers == maps.layers


def test_the_file_is_plain_safetensors(file: Path) -> None:
    with safe_open(file, framework="np") as opened:
        assert "a rocket above a moon" in opened.metadata()["maps"]
        assert opened.get_tensor("0").dtype == np.float32


def test_another_file_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="holds no attention maps"):
        load(tmp_path / "weights.safetensors")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(ValueError, match="is not a file of safetensors"):
        load(tmp_path / "text")
