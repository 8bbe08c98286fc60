"""A folder that is not what a run wrote is refused in one sentence, never loaded in part."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from companion.finetuning import FinetuneConfig, load_finetuned
from companion.finetuning.learner import Learner
from companion.finetuning.saving import LORA, SETTINGS, save_settings
from companion.finetuning.words import EMBEDDINGS
from companion.zoo import folder as embedded

Make = Callable[..., FinetuneConfig]
Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]
UNET = Path("unet", "diffusion_pytorch_model.safetensors")


@pytest.fixture
def version(tiny: Make, tmp_path: Path) -> Callable[..., Path]:
    """What a run of such settings keeps under steps/, untrained."""

    def make(**changes: Any) -> Path:
        config, place = tiny(**changes), tmp_path / "version"
        place.mkdir()
        Learner(config, torch.device("cpu")).save(place, whole=False)
        save_settings(config, 6, place)
        return place

    return make


def changed(file: Path, change: Change) -> None:
    """Write the file anew with other tensors and the same metadata."""
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    save_file(change(load_file(file)), file, metadata)


def settings(place: Path, **changes: Any) -> None:
    told = json.loads((place / SETTINGS).read_text()) | changes
    (place / SETTINGS).write_text(json.dumps(told))


def refused(place: Path, *words: str) -> None:
    """One sentence that names the folder and says what to do."""
    with pytest.raises(ValueError, match=r"run it again|as the run left it") as caught:
        load_finetuned(place)
    assert "\n" not in str(caught.value)
    for word in (str(place), *words):
        assert word in str(caught.value)


def without_one(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(list(tensors.items())[1:])


def with_another(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, "another": torch.ones(2)}


def with_nan(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor * float("nan") for name, tensor in tensors.items()}


def wider(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([tensor, tensor], -1) for name, tensor in tensors.items()}


CASES = [
    ({}, Path(LORA)),
    ({"method": "textual_inversion"}, Path(EMBEDDINGS)),
    ({"method": "dreambooth"}, UNET),
    ({"method": "dreambooth", "text_encoder": True}, Path("text_encoder", "model.safetensors")),
]


@pytest.mark.parametrize(("changes", "name"), CASES, ids=lambda value: str(value)[:60])
def test_a_file_that_is_missing_damaged_or_another_is_refused(
    changes: dict[str, Any], name: Path, version: Callable[..., Path]
) -> None:
    place = version(**changes)
    load_finetuned(place)
    whole = (place / name).read_bytes()
    for change, words in (
        (without_one, "lacks"),
        (with_another, "holds another"),
        (with_nan, "NaN or infinity"),
        (wider, "is needed"),
    ):
        changed(place / name, change)
        refused(place, name.name, words)
        (place / name).write_bytes(whole)
    (place / name).write_bytes(whole[: len(whole) // 2])
    refused(place, name.name, "is no safetensors file")
    (place / name).unlink()
    refused(place, "There is no file")
    if name.parent != Path():
        shutil.rmtree(place / name.parent)
        refused(place, "There is no file")


def test_a_lora_without_its_own_alpha_is_refused(version: Callable[..., Path]) -> None:
    place = version()
    save_file(load_file(place / LORA), place / LORA)
    refused(place, "says another rank, alpha or layers")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "it lacks dataset_name"),
        ("{", "cannot be read"),
        ('{"rank": 4, "colour": "red"}', "it lacks"),
    ],
)
def test_settings_of_no_run_are_refused_by_their_files_name(
    text: str, words: str, version: Callable[..., Path]
) -> None:
    place = version()
    (place / SETTINGS).write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        load_finetuned(place)
    assert str(place / SETTINGS) in str(caught.value)


def test_a_wrong_setting_is_said_with_its_file(version: Callable[..., Path]) -> None:
    place = version()
    settings(place, rank=0)
    refused(place, SETTINGS, "The setting rank is 1 or more")
    settings(place, rank=2, colour="red")
    refused(place, SETTINGS, "there is no setting colour")


@pytest.mark.parametrize("model", ["~nosuch/x", "/nowhere", "ddpm", "flow"])
def test_a_base_model_that_is_gone_or_of_another_kind_is_said(
    model: str, version: Callable[..., Path]
) -> None:
    place = version()
    kinds = {"ddpm": "ddpm", "flow": "flow"}
    settings(place, model=str(embedded(model)) if model in kinds else model)
    refused(place, "cannot be loaded", "put back the one that the run began with")


def test_a_whole_model_is_looked_at_too(tiny: Make, tmp_path: Path) -> None:
    config, place = tiny(method="dreambooth"), tmp_path / "whole"
    place.mkdir()
    Learner(config, torch.device("cpu")).save(place, whole=True)
    save_settings(config, 6, place)
    load_finetuned(place)
    whole = (place / UNET).read_bytes()
    for change in (without_one, with_another, with_nan, wider):
        changed(place / UNET, change)
        refused(place)
        (place / UNET).write_bytes(whole)
    (place / UNET).write_bytes(whole[:5000])
    refused(place)
