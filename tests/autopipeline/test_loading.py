"""companion.autopipeline.load: the right class, from folders that the door lets through."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from companion import profile
from companion.autopipeline import load
from companion.door import Untrusted
from companion.scenes import scene
from damage import changeable_copy

MODULE = import_module("companion.profile")  # the function `profile` hides it

FROG = scene(7, subset="stable-diffusion")  # "a frog on a brown background"


@pytest.mark.parametrize("task", ["text-to-image", "image-to-image", "inpainting"])
def test_load_gives_the_class_that_autopipeline_finds(task: str, pipes: dict[str, Any]) -> None:
    loaded = load(task, profile("small"))
    assert type(loaded) is type(pipes[task])
    assert loaded.unet.dtype == torch.float32


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no task 'video'; choose one of: text-to-image, "):
        load("video")


@pytest.mark.skipif(
    type(transformers.AutoImageProcessor).__name__ == "DummyObject",
    reason="transformers up to 5.15 asks for torchvision here",
)
def test_a_class_that_transformers_renamed_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = profile("small")
    folder = tmp_path / "depth"
    changeable_copy(small.depth, folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["feature_extractor"] = ["transformers", "DPTFeatureExtractor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    settings = folder / "feature_extractor" / "preprocessor_config.json"
    old = json.loads(settings.read_text())
    old["feature_extractor_type"] = old.pop("image_processor_type").replace(
        "ImageProcessor", "FeatureExtractor"
    )
    settings.write_text(json.dumps(old))

    expected = load("depth-to-image", small).feature_extractor
    monkeypatch.setattr(MODULE, "source_folder", lambda source: str(folder))
    loaded = load("depth-to-image", profile("small")).feature_extractor
    seen = [
        extractor(FROG.image, return_tensors="pt").pixel_values for extractor in (loaded, expected)
    ]
    torch.testing.assert_close(*seen)


def test_pipelines_made_of_one_share_its_weights(pipes: dict[str, Any]) -> None:
    first = next(pipes["text-to-image"].unet.parameters()).data_ptr()
    assert {next(pipe.unet.parameters()).data_ptr() for pipe in pipes.values()} == {first}


EVIL = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n\n\nclass Evil: ...\n"


def custom_part(folder: Path, index: dict[str, Any]) -> Any:
    (folder / "unet" / "evil.py").write_text(EVIL)
    return {**index, "unet": ["evil", "Evil"]}


def custom_pipeline(folder: Path, index: dict[str, Any]) -> Any:
    (folder / "evil.py").write_text(EVIL)
    return {**index, "_class_name": ["evil", "Evil"]}


def processor_of_its_own(folder: Path, index: dict[str, Any]) -> Any:
    (folder / "feature_extractor").mkdir(exist_ok=True)
    (folder / "feature_extractor" / "evil.py").write_text(EVIL)
    settings = {"image_processor_type": "Evil", "auto_map": {"AutoImageProcessor": "evil.Evil"}}
    (folder / "feature_extractor" / "preprocessor_config.json").write_text(json.dumps(settings))
    return {**index, "feature_extractor": ["transformers", "EvilFeatureExtractor"]}


def pickled_unet(folder: Path, index: dict[str, Any]) -> Any:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    return index


def lacking_weights(folder: Path, index: dict[str, Any]) -> Any:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["conv_in.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    return index


def other_weights(folder: Path, index: dict[str, Any]) -> Any:
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "in_channels": 9}))
    return index


@pytest.mark.parametrize(
    "change",
    [
        custom_part,
        custom_pipeline,
        processor_of_its_own,
        pickled_unet,
        other_weights,
        lacking_weights,
        lambda _, index: [index],
        lambda _, index: None,
        lambda _, index: {**index, "_class_name": 5},
        lambda _, index: {**index, "_class_name": "NoSuchPipeline"},
        lambda _, index: {**index, "feature_extractor": 5},
        lambda _, index: {**index, "feature_extractor": ["transformers", 5]},
        lambda _, index: {**index, "feature_extractor": "ab"},
        lambda _, index: {**index, "feature_extractor": {"a": 1, "b": 2}},
        lambda _, index: {**index, "feature_extractor": []},
    ],
)
def test_a_folder_that_cannot_be_trusted_is_refused_and_none_of_its_code_runs(
    change: Callable[[Path, dict[str, Any]], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small, folder = profile("small"), tmp_path / "model"
    changeable_copy(small.autopipeline, folder)
    index = folder / "model_index.json"
    index.write_text(json.dumps(change(folder, json.loads(index.read_text()))))
    monkeypatch.setattr(MODULE, "source_folder", lambda source: str(folder))
    with pytest.raises(Untrusted) as caught:
        load("text-to-image", profile("small"))
    assert str(caught.value).endswith(".")
    assert str(caught.value).isprintable()
    assert not list(folder.rglob("*.ran"))


def test_a_model_of_another_task_is_said() -> None:
    small = profile("small")
    models = {**small.models, "depth": small.models["autopipeline"]}
    with pytest.raises(Untrusted, match=r"cannot be loaded as depth-to-image .* another model"):
        load("depth-to-image", replace(small, models=models))
