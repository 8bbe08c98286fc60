"""The embedded models: whole, loadable by stock libraries, and good at what their cards say."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from companion.recipes.recipe import load_recipe
from companion.scenes import groups, objects
from companion.zoo import entries, folder, registry, verify
from companion.zoo.registry import WEIGHTS
from damage import changeable_copy, flip_a_bit

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


def test_a_model_that_nobody_has_trained_yet_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(entries(), "ddpm", replace(entries()["ddpm"], path=tmp_path, sha256={}))
    assert verify("ddpm") == ["ddpm: its files are not made yet."]


LOADS = """
import importlib, json, sys, torch
for name, (library, loader, place, absent) in json.loads(sys.argv[1]).items():
    model = getattr(importlib.import_module(library), loader).from_pretrained(
        place, dtype=torch.float16, **dict.fromkeys(absent)
    )
    parts = getattr(model, "components", {"model": model}).values()
    weights = [w for part in parts if hasattr(part, "parameters") for w in part.parameters()]
    kinds = {str(weight.dtype) for weight in weights}
    print(json.dumps({name: sorted(kinds)}))
assert not any(module.startswith("companion") for module in sys.modules)
"""


@pytest.fixture(scope="module")
def kinds_of_stock_libraries() -> dict[str, list[str]]:
    """The types of each model's weights, loaded in one Python that knows nothing of ours."""
    models = {
        name: (*entry.loads_with.split("."), str(folder(name)), entry.absent)
        for name, entry in entries().items()
    }
    command = [sys.executable, "-c", LOADS, json.dumps(models)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = {}
    for line in answer.stdout.splitlines():
        found |= json.loads(line)
    return found


@pytest.mark.parametrize("name", entries())
def test_stock_libraries_load_it_in_half_precision_with_nothing_of_ours(
    name: str, kinds_of_stock_libraries: dict[str, list[str]]
) -> None:
    assert kinds_of_stock_libraries[name] == ["torch.float16"]


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


def test_the_page_shows_every_card() -> None:
    page = (Path(__file__).parents[2] / "book" / "zoo.md").read_text(encoding="utf-8")
    cards = [(entry.path / "README.md").relative_to(WEIGHTS) for entry in entries().values()]
    assert not [card for card in cards if f"zoo/weights/{card.as_posix()}" not in page]


def test_the_page_names_every_object_once() -> None:
    page = (Path(__file__).parents[2] / "book" / "zoo.md").read_text(encoding="utf-8")
    words = " ".join(page.split())
    assert f"All {len(objects())} objects" in words
    for group, names in groups().items():
        assert words.count(f"- **{group.capitalize()}:** {', '.join(names)}.") == 1


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


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The ddpm model in a package of its own."""
    changeable_copy(WEIGHTS / "ddpm", tmp_path / "ddpm")
    monkeypatch.setattr(registry, "WEIGHTS", tmp_path)
    registry.entries.cache_clear()
    yield tmp_path / "ddpm"
    registry.entries.cache_clear()


def _flip_a_bit(home: Path) -> None:
    flip_a_bit(home / "diffusion_pytorch_model.safetensors")


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
