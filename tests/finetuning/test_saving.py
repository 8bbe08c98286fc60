"""Files: stock Diffusers loads them, and they are the same bytes each time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import ImageChops
from safetensors import safe_open

from companion.finetuning import (
    FinetuneConfig,
    LowRank,
    add_lora,
    draw,
    load_finetuned,
    save_lora,
)
from companion.finetuning.examples import load_examples
from companion.finetuning.learner import Learner
from companion.finetuning.lowrank import projections
from companion.finetuning.saving import LORA, save_card, save_settings

Make = Callable[..., FinetuneConfig]


def learned(config: FinetuneConfig, place: Path, *, whole: bool) -> Learner:
    """A learner whose trained weights are moved by chance, saved."""
    learner = Learner(config, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in learner.weights:
            weight += torch.randn(weight.shape, generator=generator) / 10
    place.mkdir()
    learner.save(place, whole=whole)
    save_settings(config, 6, place)
    return learner


def drawn(pipeline: StableDiffusionPipeline, word: str) -> Any:
    return draw(pipeline, [f"a {word} on a red background"], [3], size=16, steps=2)[0]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {"text_encoder": True},
        {"token": "<fox>", "vectors": 2},
        {"method": "textual_inversion"},
        {"method": "dreambooth"},
        {"method": "dreambooth", "text_encoder": True, "token": "<fox>"},
    ],
    ids=lambda changes: "-".join([str(key) for key in changes]),
)
def test_what_was_learned_draws_the_same_when_it_is_loaded(
    changes: dict[str, Any], whole: bool, tiny: Make, tmp_path: Path, pipe: StableDiffusionPipeline
) -> None:
    config = tiny(**changes)
    learner = learned(config, tmp_path / "saved", whole=whole)
    word = learner.token or "fox"
    expected = drawn(learner.pipeline(), word)
    again = drawn(load_finetuned(tmp_path / "saved"), word)
    most = max(high for _, high in ImageChops.difference(expected, again).getextrema())
    assert most <= 1  # of 255
    assert ImageChops.difference(expected, drawn(pipe, "fox")).getbbox()


def test_a_lora_is_loaded_with_its_alpha_by_one_line_of_diffusers(
    pipe: StableDiffusionPipeline, small_model: Path, tmp_path: Path
) -> None:
    other = StableDiffusionPipeline.from_pretrained(small_model)
    for network in (pipe.unet, pipe.text_encoder):
        for layer in add_lora(network, 2, 16.0).values():
            torch.nn.init.normal_(layer.up, std=0.1)
    save_lora(tmp_path, pipe.unet, pipe.text_encoder)
    other.load_lora_weights(tmp_path)
    words = torch.randn(1, 77, 16)
    with torch.no_grad():
        ours = pipe.unet(torch.ones(1, 4, 4, 4), 5, words).sample
        theirs = other.unet(torch.ones(1, 4, 4, 4), 5, words).sample
    torch.testing.assert_close(theirs, ours)
    assert other.unet.peft_config["default_0"].lora_alpha == 16
    assert other.text_encoder.peft_config["default_0"].lora_alpha == 16


def test_the_same_weights_are_the_same_bytes(pipe: StableDiffusionPipeline, tmp_path: Path) -> None:
    add_lora(pipe.unet, 2)
    contents = set()
    for number in range(8):  # by chance the library's own order is the same in half of them
        save_lora(tmp_path / str(number), pipe.unet)
        contents.add((tmp_path / str(number) / LORA).read_bytes())
    assert len(contents) == 1
    with safe_open(tmp_path / "0" / LORA, "pt") as file:
        assert file.metadata()["format"] == "pt"
        told = json.loads(file.metadata()["lora_adapter_metadata"])
    assert (told["unet.r"], told["unet.lora_alpha"]) == (2, 8.0)


def test_the_card_says_how_it_was_made_and_not_where(tiny: Make, tmp_path: Path) -> None:
    config = tiny(dataset_name="/home/me/secret place/cats", prompt="a <cat>", token="<cat>")
    save_card(config, 6, 1234, tmp_path, ["sks"])
    card = (tmp_path / "README.md").read_text()
    assert "1,234 weights trained in 6 steps of 2 pictures" in card
    assert "never met sks: this word has no embedding of its own" in card
    assert 'load_lora_weights("this-folder")' in card
    assert "load_textual_inversion" in card
    assert "secret" not in card


def test_a_folder_that_no_run_wrote_is_refused(tmp_path: Path, tiny: Make) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no settings\.json"):
        load_finetuned(tmp_path)
    (tmp_path / "settings.json").write_text('{"rank": 4, "colour": "red"}')
    with pytest.raises(ValueError, match="is not what a run wrote"):
        load_finetuned(tmp_path)


def test_no_updates_are_not_saved(pipe: StableDiffusionPipeline, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="The unet has no updates of low rank"):
        save_lora(tmp_path, pipe.unet)


def test_words_that_the_zoo_never_met_are_told(tiny: Make) -> None:
    config = tiny(model="stable-diffusion", image_size=64)
    learner = Learner(config, torch.device("cpu"))
    learner.look_at(load_examples(config), None)
    assert learner.unknown_words == ("fox",)


@pytest.mark.parametrize(("ranks", "alphas"), [((1, 2, 3), (4.0,)), ((2,), (4.0, 8.0, 1.5))])
def test_layers_of_different_rank_or_alpha_draw_the_same_in_stock_diffusers(
    ranks: tuple[int, ...],
    alphas: tuple[float, ...],
    pipe: StableDiffusionPipeline,
    small_model: Path,
    tmp_path: Path,
) -> None:
    other = StableDiffusionPipeline.from_pretrained(small_model)
    words, ids = torch.randn(1, 77, 16), torch.tensor([[49406, 320, 2368, 49407]])
    for network in (pipe.unet, pipe.text_encoder):
        for number, name in enumerate(projections(network)):
            linear: Any = network.get_submodule(name)
            layer = LowRank(linear, ranks[number % len(ranks)], alphas[number % len(alphas)])
            torch.nn.init.normal_(layer.up, std=0.1)
            network.set_submodule(name, layer)
    save_lora(tmp_path, pipe.unet, pipe.text_encoder)
    other.load_lora_weights(tmp_path)
    with torch.no_grad():
        for ours, theirs in (
            (pipe.unet(torch.ones(1, 4, 4, 4), 5, words), other.unet),
            (pipe.text_encoder(ids), other.text_encoder),
        ):
            given = (torch.ones(1, 4, 4, 4), 5, words) if theirs is other.unet else (ids,)
            torch.testing.assert_close(theirs(*given)[0], ours[0])


def test_where_no_file_can_be_is_said(pipe: StableDiffusionPipeline, tmp_path: Path) -> None:
    add_lora(pipe.unet, 2)
    (tmp_path / "file").write_text("a file")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match="file is no folder: give another place"):
            save_lora(place, pipe.unet)
    (tmp_path / LORA).mkdir()
    with pytest.raises(ValueError, match="is a folder: a file goes there"):
        save_lora(tmp_path, pipe.unet)
