"""The embedded models: whole, loadable by stock libraries, and good at what their cards say."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from companion.door import Untrusted
from companion.metrics import kid, nearest
from companion.recipes.recipe import load_recipe
from companion.scenes import HELD_OUT, backgrounds, objects, scene
from companion.zoo import entries, folder, recognise, registry, verify
from companion.zoo.registry import WEIGHTS

LIMIT = 16 * 2**20


@pytest.mark.parametrize("name", entries())
def test_every_file_is_the_registered_one(name: str) -> None:
    assert entries()[name].sha256, f"{name} has no hashes"
    assert verify(name) == []


def test_every_weight_file_is_registered_small_and_no_pickle() -> None:
    registered = {
        (entry.path / file).resolve() for entry in entries().values() for file in entry.sha256
    }
    for path in (p for p in WEIGHTS.rglob("*") if p.is_file()):
        assert path.stat().st_size <= LIMIT, f"{path.name} is over 16 MiB"
        assert path.suffix in {".safetensors", ".json", ".md", ".png"}, path.name
        if path.suffix == ".safetensors":
            assert path.resolve() in registered, f"{path.name} is not in sha256.toml"


def test_no_configuration_names_a_place_on_the_machine_that_trained_it() -> None:
    for path in WEIGHTS.rglob("*.json"):
        if path.name != "tokenizer.json":
            assert "_name_or_path" not in path.read_text(), path


def test_a_changed_and_a_missing_file_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = entries()["ddpm"].sha256
    monkeypatch.setitem(sums, "config.json", "0" * 64)
    monkeypatch.setitem(sums, "absent.json", "0" * 64)
    assert verify("ddpm") == [
        "ddpm: config.json is not the registered file (its SHA-256 differs).",
        "ddpm: absent.json is missing.",
    ]


@pytest.mark.parametrize("name", entries())
def test_stock_libraries_load_it_in_half_precision_with_nothing_of_ours(name: str) -> None:
    library, loader = entries()[name].loads_with.split(".")
    code = (
        f"import sys, torch; from {library} import {loader} as Loader\n"
        f"model = Loader.from_pretrained({str(folder(name))!r}, dtype=torch.float16)\n"
        "assert not any(module.startswith('companion') for module in sys.modules)\n"
        "parts = getattr(model, 'components', {'model': model}).values()\n"
        "print({str(p.dtype) for part in parts if hasattr(part, 'parameters')"
        " for p in part.parameters()})"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "{'torch.float16'}"


def test_unknown_words_mean_nothing() -> None:
    from transformers import CLIPTextModel, CLIPTokenizer

    home = folder("stable-diffusion")
    tokenizer = CLIPTokenizer.from_pretrained(home / "tokenizer")
    table = CLIPTextModel.from_pretrained(home / "text_encoder").get_input_embeddings().weight
    assert table[tokenizer.convert_tokens_to_ids("godzilla</w>")].abs().max() == 0
    assert table[tokenizer.convert_tokens_to_ids("cat</w>")].abs().max() > 0


def test_the_tokenizer_gives_the_ids_of_clip() -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder("stable-diffusion") / "tokenizer")
    # openai/clip-vit-large-patch14's ids.
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer.model_max_length == 77


def test_the_classifier_names_scenes_it_never_saw() -> None:
    scenes = [scene(HELD_OUT + 10**9 + n) for n in range(200)]
    seen = recognise([one.image for one in scenes])
    right = [
        {thing.name for thing in one.objects} == set(what.objects)
        for one, what in zip(scenes, seen, strict=True)
    ]
    assert sum(right) / len(right) > 0.9
    assert (
        sum(one.background == what.background for one, what in zip(scenes, seen, strict=True)) > 190
    )


def test_the_classifier_takes_pictures_and_tensors_of_any_size() -> None:
    one = scene(5, subset="pets", size=128)
    tensor = torch.from_numpy(one.pixels.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    expected = (one.objects[0].name,)
    assert recognise(one.image)[0].objects == expected
    assert recognise(tensor)[0].objects == expected
    assert str(recognise(one.image)[0]) == f"{expected[0]} on {one.background}"


def test_the_classifiers_labels_are_the_objects_and_the_backgrounds() -> None:
    names = json.loads((folder("classifier") / "config.json").read_text())["id2label"].values()
    assert list(names) == [*objects(), *(f"{name} background" for name in backgrounds())]


@pytest.mark.parametrize("name", entries())
def test_every_model_has_a_card_with_what_was_measured(name: str) -> None:
    home = entries()[name].path
    card = (home / "README.md").read_text()
    figures = json.loads((home / "evaluation.json").read_text())
    assert figures
    for what in figures:
        assert f"| {what} |" in card
    for heading in ("## Data", "## Recipe", "## Quality", "## Licence"):
        assert heading in card


def _figures(name: str) -> dict[str, float]:
    figures: dict[str, float] = json.loads((entries()[name].path / "evaluation.json").read_text())
    return figures


def test_the_cards_meet_the_project_s_bar() -> None:
    classifier = _figures("classifier")
    assert classifier["objects that are there and named, %"] >= 98
    assert classifier["backgrounds right, %"] >= 99
    assert _figures("vae")["PSNR, mean, dB"] >= 27
    pictures = _figures("stable-diffusion")
    assert pictures["one object: named by the classifier, %"] >= 97
    assert pictures["one object: background right, %"] >= 99
    assert pictures["two objects: both named, %"] >= 85
    drawn = _figures("ddpm")
    assert drawn["KID to held-out scenes"] < 0.2 * drawn["KID of noise"]
    large = _figures("upscaler")
    assert large["held-out scenes"] >= 500
    assert large["PSNR, mean, dB"] > large["PSNR of bicubic, mean, dB"]
    assert large["exactly the right objects named, %"] > large["the same of bicubic, %"]
    placed = _figures("depth")
    assert placed["object against depth, IoU, mean"] > 0.7
    assert (
        placed["object against depth, IoU, mean"]
        > 2 * placed["the same with another scene's depth"]
    )


def test_kid_of_one_distribution_is_near_zero_and_grows_with_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 500, 8, generator=generator)
    assert abs(kid(first, second)) < 0.05
    assert kid(first, second + 1) > 1


def test_the_nearest_picture_is_found() -> None:
    shelf = torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    distances, found = nearest(shelf[7:8] + 0.01, shelf, 2)
    assert found[0, 0] == 7
    assert distances[0, 0] == pytest.approx(0.01, abs=1e-3)


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The ddpm model in a package of its own."""
    shutil.copytree(WEIGHTS / "ddpm", tmp_path / "ddpm")
    monkeypatch.setattr(registry, "WEIGHTS", tmp_path)
    registry.entries.cache_clear()
    yield tmp_path / "ddpm"
    registry.entries.cache_clear()


def _flip_a_bit(home: Path) -> None:
    path = home / "diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_flip_a_bit, "diffusion_pytorch_model.safetensors is not the registered file"),
        (
            lambda home: (home / "diffusion_pytorch_model.safetensors.index.json").write_text("{}"),
            "diffusion_pytorch_model.safetensors.index.json does not belong there",
        ),
        (
            lambda home: (home / "pytorch_model.bin").write_text("pickle"),
            "pytorch_model.bin does not belong there",
        ),
        (
            lambda home: (home / "unet").symlink_to(home.parent),
            "unet does not belong there",
        ),
        (
            lambda home: ((home / "config.json").unlink(), os.mkfifo(home / "config.json")),
            "config.json is missing",
        ),
        (lambda home: (home / "config.json").write_text("{"), "config.json is not the registered"),
    ],
)
def test_a_folder_with_another_file_than_the_registered_ones_is_refused(
    damage: Callable[[Path], object], says: str, copied: Path
) -> None:
    damage(copied)
    remedy = "move it away" if "belong" in says else "install diffusers-notes again"
    with pytest.raises(FileNotFoundError, match=rf"ddpm: {says}.*; {remedy}\."):
        folder("ddpm")


def test_what_desktops_hide_and_links_to_the_registered_files_are_fine(copied: Path) -> None:
    (copied / ".DS_Store").write_text("")
    (copied / "config.json").replace(copied.parent / "config.json")
    (copied / "config.json").symlink_to(copied.parent / "config.json")  # as uv installs
    assert folder("ddpm") == copied


@pytest.mark.parametrize("name", ["../ddpm", "", ".", "DDPM", "ddpm/", "weights/ddpm", "\x00"])
def test_a_name_is_never_a_path(name: str) -> None:
    with pytest.raises(ValueError, match="There is no model"):
        folder(name)
    with pytest.raises(ValueError, match="There is no recipe"):
        load_recipe(name)


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="choose one of: classifier, vae, stable-diffusion, ddpm"):
        folder("dall-e")


def test_a_missing_folder_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "WEIGHTS", tmp_path)
    registry.entries.cache_clear()
    try:
        with pytest.raises(FileNotFoundError, match="install diffusers-notes again"):
            folder("ddpm")
    finally:
        registry.entries.cache_clear()


@pytest.mark.parametrize(
    "wrong",
    [
        "cat.png",
        Path("cat.png"),
        None,
        [],
        ["cat.png"],
        np.zeros((64, 64, 3), np.uint8),
        torch.zeros(64, 64),
        torch.zeros(2, 4, 64, 64),
        torch.zeros(0, 3, 64, 64),
        torch.zeros(1, 3, 0, 64),
        torch.full((1, 3, 64, 64), float("nan")),
        torch.zeros(1, 3, 64, 64, dtype=torch.int64),
    ],
)
def test_what_cannot_be_recognised_is_one_sentence(wrong: Any) -> None:
    with pytest.raises(Untrusted, match=r"^(What is|There is|The tensor)[^\n]*: give|^The tensor"):
        recognise(wrong)


def test_pictures_of_several_sizes_grey_ones_and_bytes_are_recognised() -> None:
    image = scene(3, subset="flowers", size=64).image
    large = image.resize((128, 96))
    alone = [recognise(image)[0], recognise(large)[0]]
    assert recognise([image, large]) == recognise(iter([image, large])) == alone
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert recognise(pixels) == recognise(pixels / 127.5 - 1) == alone[:1]
    grey = torch.from_numpy(np.array(image.convert("L")))[None, None]
    assert recognise(grey) == recognise(image.convert("L"))
