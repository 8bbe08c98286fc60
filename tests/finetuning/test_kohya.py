"""Kohya's names, both ways."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from companion.finetuning import (
    add_lora,
    drop_lora,
    load_kohya,
    lora_layers,
    lora_weights,
    save_kohya,
)

NAME = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"


def answers(pipe: StableDiffusionPipeline) -> tuple[Tensor, Tensor]:
    """What the UNet and the text encoder give for fixed numbers."""
    words = torch.randn(1, 77, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return (
            pipe.unet(torch.ones(1, 4, 4, 4), 5, words).sample,
            pipe.text_encoder(torch.tensor([[49406, 320, 2368, 49407]])).last_hidden_state,
        )


@pytest.fixture
def file(pipe: StableDiffusionPipeline, tmp_path: Path) -> Path:
    """A file of a pipeline whose UNet and text encoder were taught something."""
    for network in (pipe.unet, pipe.text_encoder):
        for layer in add_lora(network, 2, 6.0).values():
            nn.init.normal_(layer.up, std=0.1)
    save_kohya(tmp_path / "kohya.safetensors", pipe.unet, pipe.text_encoder)
    return tmp_path / "kohya.safetensors"


def test_names_and_alpha_are_kohyas(file: Path) -> None:
    tensors = load_file(file)
    assert tensors[f"{NAME}.lora_down.weight"].shape == (2, 8)
    assert tensors[f"{NAME}.lora_up.weight"].shape == (8, 2)
    assert tensors[f"{NAME}.alpha"].item() == 6.0
    assert "lora_te_text_model_encoder_layers_1_self_attn_q_proj.alpha" in tensors
    with safe_open(file, "pt") as opened:
        assert opened.metadata()["ss_network_dim"] == "2"


def test_stock_diffusers_reads_what_was_written(
    file: Path, pipe: StableDiffusionPipeline, small_model: Path
) -> None:
    stock = StableDiffusionPipeline.from_pretrained(small_model)
    before = answers(stock)
    stock.load_lora_weights(file)
    for theirs, ours, untaught in zip(answers(stock), answers(pipe), before, strict=True):
        torch.testing.assert_close(theirs, ours)
        assert (theirs - untaught).abs().max() > 1e-3


def test_what_was_written_is_read_back_bit_for_bit(
    file: Path, pipe: StableDiffusionPipeline, small_model: Path
) -> None:
    other = StableDiffusionPipeline.from_pretrained(small_model)
    made = load_kohya(file, other.unet, other.text_encoder)
    assert len(made) == len(lora_layers(pipe.unet)) + len(lora_layers(pipe.text_encoder))
    for mine, theirs in ((pipe.unet, other.unet), (pipe.text_encoder, other.text_encoder)):
        weights = lora_weights(theirs)
        assert all(torch.equal(weights[name], w) for name, w in lora_weights(mine).items())
    for first, second in zip(answers(pipe), answers(other), strict=True):
        assert torch.equal(first, second)


def test_without_alpha_the_scale_is_1(
    file: Path, pipe: StableDiffusionPipeline, small_model: Path
) -> None:
    save_file({k: v for k, v in load_file(file).items() if not k.endswith("alpha")}, file)
    other = StableDiffusionPipeline.from_pretrained(small_model)
    assert {part.scale for part in load_kohya(file, other.unet, other.text_encoder).values()} == {1}


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({"lora_unet_conv_in.lora_down.weight": torch.ones(2, 4, 3, 3)}, "a convolution, but only"),
        ({f"{NAME}.hada_w1_a": torch.ones(2, 2)}, "none of kohya's LoRA"),
        ({"unet.to_q.lora_A.weight": torch.ones(2, 2)}, "none of kohya's LoRA"),
        ({f"{NAME}.lora_down.weight": torch.ones(2, 9)}, "does not fit that layer's 8 inputs"),
        ({f"{NAME}.alpha": torch.ones(2)}, "does not fit that layer's 8 inputs"),
        ({f"{NAME}.alpha": torch.tensor(float("nan"))}, "alpha is nan, but it is a finite"),
        ({f"{NAME}.alpha": torch.tensor(float("inf"))}, "alpha is inf, but it is a finite"),
        ({f"{NAME}.lora_up.weight": torch.full((8, 2), float("nan"))}, "holds NaN or infinity"),
        ({f"{NAME}.lora_up.weight": torch.ones(8, 2).int()}, "no tensor of floating-point"),
        ({f"{NAME}.lora_up.weight": torch.ones(8, 2) * 1j}, "no tensor of floating-point"),
        ({"lora_unet_elsewhere.lora_down.weight": torch.ones(2, 4)}, "belongs to another one"),
    ],
)
def test_a_file_of_another_kind_or_model_is_refused_and_nothing_changed(
    extra: dict[str, Tensor], sentence: str, file: Path, small_model: Path
) -> None:
    save_file({**load_file(file), **extra}, file)
    other = StableDiffusionPipeline.from_pretrained(small_model)
    with pytest.raises(ValueError, match=sentence):
        load_kohya(file, other.unet, other.text_encoder)
    assert not lora_layers(other.unet)
    assert all(weight.requires_grad for weight in other.unet.parameters())


def test_updates_of_a_text_encoder_that_was_not_given_are_refused(
    file: Path, small_model: Path
) -> None:
    other = StableDiffusionPipeline.from_pretrained(small_model)
    with pytest.raises(ValueError, match=r"lora_te_.*: give text_encoder, too"):
        load_kohya(file, other.unet)


def test_what_is_no_file_of_tensors_is_said(tmp_path: Path, pipe: StableDiffusionPipeline) -> None:
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load_kohya(tmp_path / "none.safetensors", pipe.unet)
    (tmp_path / "text.safetensors").write_text("a pickle, perhaps")
    with pytest.raises(ValueError, match="is no safetensors file"):
        load_kohya(tmp_path / "text.safetensors", pipe.unet)
    with pytest.raises(ValueError, match="have no updates of low rank"):
        save_kohya(tmp_path / "out.safetensors", pipe.unet)


def test_updates_are_not_put_beside_updates(file: Path, pipe: StableDiffusionPipeline) -> None:
    with pytest.raises(
        ValueError, match="has updates of low rank already: merge_lora or drop_lora"
    ):
        load_kohya(file, pipe.unet, pipe.text_encoder)


def test_a_file_that_may_not_be_read_is_said(
    file: Path, pipe: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    drop_lora(pipe.unet)
    monkeypatch.setattr("companion.finetuning.saving.safe_open", closed)
    with pytest.raises(ValueError, match=r"cannot be read \(PermissionError.*take a copy"):
        load_kohya(file, pipe.unet)


def test_where_no_file_can_be_is_said(file: Path, pipe: StableDiffusionPipeline) -> None:
    with pytest.raises(ValueError, match="is a folder: a file goes there"):
        save_kohya(file.parent, pipe.unet)
    with pytest.raises(ValueError, match=r"There is no folder .*nowhere: make it first"):
        save_kohya(file.parent / "nowhere" / "lora.safetensors", pipe.unet)


def test_alphas_that_differ_are_read_back_each_but_not_by_diffusers(
    file: Path, pipe: StableDiffusionPipeline, small_model: Path
) -> None:
    save_file({**load_file(file), f"{NAME}.alpha": torch.tensor(60)}, file)  # whole, as some have
    other, stock = (StableDiffusionPipeline.from_pretrained(small_model) for _ in range(2))
    made = load_kohya(file, other.unet, other.text_encoder)
    assert sorted({layer.alpha for layer in made.values()}) == [6.0, 60.0]
    save_kohya(file, other.unet, other.text_encoder)
    with safe_open(file, "pt") as opened:
        assert opened.metadata()["ss_network_alpha"] == "Dynamic"
        assert opened.metadata()["ss_network_dim"] == "2"
    with pytest.warns(RuntimeWarning, match="alpha_pattern keys did not match"):
        stock.load_lora_weights(file)
    # Should this fail, Diffusers has mended it, and two docstrings have a sentence too many.
    torch.testing.assert_close(answers(stock)[0], answers(pipe)[0])
