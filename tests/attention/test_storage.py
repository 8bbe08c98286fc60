"""Maps in a file come back as they were."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from companion.attention import HeatMaps, load, save, trace
from companion.attention.storage import FORMAT
from like_windows import held

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
        ours, theirs = (gathered.compute_global_heat_map(**asked) for gathered in (loaded, maps))
        assert torch.equal(ours.heat_maps, theirs.heat_maps)
        assert ours.tokens == theirs.tokens


@pytest.mark.skipif(os.name != "posix", reason="asks /proc")
def test_what_was_loaded_does_not_hold_the_file_which_windows_lets_nobody_replace(
    file: Path,
) -> None:
    maps = load(file)
    assert str(file.resolve()) not in held()
    del maps


def test_words_are_found_without_a_tokenizer(file: Path) -> None:
    heat_map = load(file).compute_global_heat_map(image_idx=1)
    assert [heat.word for heat in heat_map.word_heat_maps()] == heat_map.prompt.split()
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
    with pytest.raises(FileNotFoundError, match=r"There is no file .*nothing\."):
        load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="a folder, a pipe or a device"):
        load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_or_a_device_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="a folder, a pipe or a device"):
            load(path)


@pytest.mark.parametrize("path", [None, [], b"maps", 5, "", "a\0b", "\ud800", "https://a.b/maps"])
def test_what_is_no_path_is_said(maps: HeatMaps, path: Any) -> None:
    for use in (partial(save, maps), load):
        with pytest.raises(ValueError, match=r"^path is .*(path of a file|another path)"):
            use(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_nothing_is_written_in_place_of_what_is_no_file(maps: HeatMaps, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="is a folder, a pipe or a device: take another name"):
            save(maps, path)
    assert (tmp_path / "pipe").is_fifo()
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*: make it first"):
        save(maps, tmp_path / "no" / "maps")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"seed": "7"}, "A seed is '7', but it is a whole number"),
        ({"seed": [1.5]}, "A seed is 1.5"),
        ({"model": object()}, "object is no JSON"),
        ({"model": "\ud800"}, "The description cannot be read"),
    ],
)
def test_what_would_not_be_read_again_is_not_written(
    maps: HeatMaps, given: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=says):
        save(maps, tmp_path / "maps", **given)
    assert not list(tmp_path.iterdir())


def test_what_is_no_maps_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="maps are those of a trace, but NoneType was given"):
        save(None, tmp_path / "maps")  # type: ignore[arg-type]


def test_numbers_of_numpy_and_torch_are_kept_as_numbers(maps: HeatMaps, tmp_path: Path) -> None:
    save(maps, tmp_path / "maps", seed=torch.tensor([5, 6]), guidance_scale=np.float32(2.5))
    told = load(tmp_path / "maps").settings
    assert (told["seed"], told["guidance_scale"]) == ([5, 6], 2.5)


Described = dict[str, Any]


@pytest.fixture(scope="module")
def parts(file: Path) -> tuple[dict[str, torch.Tensor], Described]:
    """The tensors of a file of maps, and what it says of them."""
    with safe_open(file, framework="pt") as opened:
        return load_file(file), json.loads(opened.metadata()["maps"])


def put(path: Path, tensors: dict[str, torch.Tensor], described: Any) -> Path:
    """A file with other parts."""
    text = described if isinstance(described, str) else json.dumps(described)
    save_file(tensors, path, metadata={"format": FORMAT, "maps": text})
    return path


PARTS = [
    "by",
    "layers",
    "heads",
    "height",
    "width",
    "positions",
    "timesteps",
    "prompts",
    "sums",
    "settings",
]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("value", ["absent", None, "text", -1, 1.5, {}, [{}], [[]], [None, 10**9]])
def test_a_part_of_the_description_that_is_none_is_refused(
    parts: tuple[dict[str, torch.Tensor], Described], part: str, value: Any, tmp_path: Path
) -> None:
    if (part, value) == ("settings", {}):
        return
    tensors, described = parts
    described = {**described, part: value}
    if value == "absent":
        del described[part]
    with pytest.raises(ValueError, match=r"The file of maps .*(cannot be read|is damaged)"):
        load(put(tmp_path / "maps", tensors, described))


@pytest.mark.parametrize(
    "described", ["[]", "5", "", "{}", "[" * 100_000, '{"a":' * 50_000, "\x00", "NaN"]
)
def test_a_description_that_is_none_is_refused(described: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        load(put(tmp_path / "maps", {"0": torch.zeros(1)}, described))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda t, d: t.pop("0"), "tensors for"),
        (lambda t, d: t.update(more=torch.zeros(1)), "tensors for"),
        (lambda t, d: t.update({"0": t["0"][:1].contiguous()}), "and not F32 of"),
        (lambda t, d: t.update({"0": t["0"].double()}), "and not F32 of"),
        (lambda t, d: t.update({"0": t["0"] - 1}), "no attention"),
        (lambda t, d: t.update({"0": t["0"] * torch.nan}), "no attention"),
        (lambda t, d: t.update({"0": t["0"] * torch.inf}), "no attention"),
        (lambda t, d: d["layers"].pop(), "numbers of heads"),
        (lambda t, d: d["heads"].append(2), "numbers of heads"),
        (lambda t, d: d["positions"].__setitem__(1, 0), "stands twice"),
        (lambda t, d: d["sums"].__setitem__(1, d["sums"][0]), "stands twice"),
        (lambda t, d: d["sums"][0][4].append(99), "does not have"),
        (lambda t, d: d["sums"][0][4].append(d["sums"][0][4][0]), "does not have"),
        (lambda t, d: d["sums"][0][4].clear(), "does not have"),
        (lambda t, d: d["sums"][0].__setitem__(0, 99), "does not have"),
        (lambda t, d: d["sums"][0].__setitem__(0, None), "does not have"),
        (lambda t, d: d["sums"][0].__setitem__(1, 0), "does not have"),
        (lambda t, d: d.update(height=1), "larger than the latents"),
        (lambda t, d: d.update(height=10**6), "height"),
        (lambda t, d: d["prompts"].pop(), "and not F32 of"),
        (lambda t, d: d["prompts"][0].update(prompt=""), "outside of the prompt"),
        (lambda t, d: d["prompts"][0]["words"].append([5, 999]), "outside of the prompt"),
        (lambda t, d: d["prompts"][0]["words"].append([5, 4]), "outside of the prompt"),
        (lambda t, d: d["prompts"][0]["tokens"].clear(), "have no maps"),
        (lambda t, d: d["prompts"][0]["tokens"][1].update(position=76), "have no maps"),
        (lambda t, d: d["prompts"][0]["tokens"][1].update(start=-5), "outside of the prompt"),
        (lambda t, d: d["prompts"][0]["tokens"][1].pop("piece"), "piece"),
        (lambda t, d: d["timesteps"].__setitem__(0, float("nan")), "timesteps"),
        (lambda t, d: d["prompts"][0].update(words=[[3, 4]]), "have no tokens"),
        (lambda t, d: d["prompts"][0]["words"].reverse(), "overlap, or stand in another order"),
        (lambda t, d: d["prompts"][0].update(words=[[0, 1]] * 10**5), "overlap, or stand in"),
        (lambda t, d: d["prompts"][0]["tokens"].append(d["prompts"][0]["tokens"][0]), "one posit"),
        (lambda t, d: d["prompts"][0].update(prompt="a cat on a blue background" * 10**4), "more"),
        (lambda t, d: d.update(positions=[*range(2001)]), "positions"),
    ],
)
def test_parts_that_contradict_one_another_are_refused(
    parts: tuple[dict[str, torch.Tensor], Described],
    change: Callable[[dict[str, torch.Tensor], Described], Any],
    fault: str,
    tmp_path: Path,
) -> None:
    tensors, described = dict(parts[0]), deepcopy(parts[1])
    change(tensors, described)
    with pytest.raises(ValueError, match=fault):
        load(put(tmp_path / "maps", tensors, described))


def test_maps_that_name_a_token_by_more_than_they_have_to_still_load(
    parts: tuple[dict[str, torch.Tensor], Described], tmp_path: Path
) -> None:
    tensors, described = parts[0], deepcopy(parts[1])
    described["prompts"][0]["tokens"][0]["more"] = 1
    described["prompts"][1] = None
    assert load(put(tmp_path / "maps", tensors, described)).prompts[1] is None


@settings(max_examples=100, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_damaged_file_loads_or_is_refused_in_a_sentence(
    file: Path, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = file.read_bytes()
    end = int.from_bytes(whole[:8], "little")
    at = data.draw(st.integers(0, end + 20))
    cut = data.draw(st.sampled_from([len(whole), len(whole) - 1, at]))
    damaged = (whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + 1 :])[:cut]
    path = tmp_path_factory.mktemp("damaged") / "maps"
    path.write_bytes(damaged)
    with suppress(ValueError):  # nothing else may come, then or when a map is made
        maps = load(path)
        for picture in range(len(maps.prompts)):
            maps.compute_global_heat_map(image_idx=picture).word_heat_maps()
