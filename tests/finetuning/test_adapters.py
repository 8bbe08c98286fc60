"""What the chapter says of Diffusers' own functions: two at once, scales, merging, unloading."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from companion.finetuning import add_lora, drop_lora, lora_layers, merge_lora, save_lora

PLACE = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v"


@pytest.fixture
def updates(pipe: StableDiffusionPipeline, tmp_path: Path) -> dict[str, dict[str, Tensor]]:
    """Two LoRAs of one model, saved under their names; what each adds to each layer's weights."""
    found = {}
    for seed, name in enumerate(("fox", "flat")):
        add_lora(pipe.unet, 2, 4.0, seed=seed)
        torch.manual_seed(seed)
        for layer in lora_layers(pipe.unet).values():
            nn.init.normal_(layer.up, std=0.1)
        save_lora(tmp_path / name, pipe.unet)
        found[name] = {
            place: layer.update.detach() for place, layer in lora_layers(pipe.unet).items()
        }
        drop_lora(pipe.unet)
    return found


@pytest.fixture
def stock(
    updates: dict[str, dict[str, Tensor]], small_model: Path, tmp_path: Path
) -> StableDiffusionPipeline:
    """Stock Diffusers with both LoRAs loaded."""
    pipeline = StableDiffusionPipeline.from_pretrained(small_model)
    for name in updates:
        pipeline.load_lora_weights(tmp_path / name, adapter_name=name)
    return pipeline


def answer(pipe: StableDiffusionPipeline) -> Tensor:
    words = torch.randn(1, 77, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answered: Tensor = pipe.unet(torch.ones(1, 4, 4, 4), 5, words).sample
    return answered


def with_weights(
    pipe: StableDiffusionPipeline, updates: dict[str, dict[str, Tensor]], **scales: float
) -> Tensor:
    """The answer of a plain UNet whose weights are W + the sum of scale times update."""
    weights = {name: weight.clone() for name, weight in pipe.unet.state_dict().items()}
    for name, scale in scales.items():
        for place, update in updates[name].items():
            weights[f"{place}.weight"] += scale * update
    unet = type(pipe.unet).from_config(pipe.unet.config)
    unet.load_state_dict(weights)
    words = torch.randn(1, 77, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answered: Tensor = unet(torch.ones(1, 4, 4, 4), 5, words).sample
    return answered


@pytest.mark.parametrize(
    "scales", [{"fox": 1.0, "flat": 1.0}, {"fox": 0.5, "flat": 0.8}, {"fox": -1.0}, {"flat": 0.0}]
)
def test_adapters_add_their_updates_by_their_weights(
    scales: dict[str, float],
    stock: StableDiffusionPipeline,
    pipe: StableDiffusionPipeline,
    updates: dict[str, dict[str, Tensor]],
) -> None:
    stock.set_adapters(list(scales), list(scales.values()))
    expected = with_weights(pipe, updates, **scales)
    torch.testing.assert_close(answer(stock), expected, rtol=1e-4, atol=1e-5)


def test_fused_is_merged_and_unfused_is_back_but_for_rounding(
    stock: StableDiffusionPipeline, pipe: StableDiffusionPipeline, tmp_path: Path
) -> None:
    original = pipe.unet.get_submodule(PLACE).weight.detach().clone()
    stock.set_adapters(["fox"], [1.0])
    stock.fuse_lora(adapter_names=["fox"])
    add_lora(pipe.unet, 2, 4.0, seed=0)
    torch.manual_seed(0)
    for layer in lora_layers(pipe.unet).values():
        nn.init.normal_(layer.up, std=0.1)
    merge_lora(pipe.unet)
    fused = stock.unet.get_submodule(PLACE).weight.detach()
    torch.testing.assert_close(fused, pipe.unet.get_submodule(PLACE).weight)
    torch.testing.assert_close(answer(stock), answer(pipe), rtol=1e-4, atol=1e-5)
    stock.unfuse_lora()
    back = stock.unet.get_submodule(PLACE).weight.detach()
    assert (back - original).abs().max() < 1e-6  # (W + U) - U is W but for the last bits


def test_unloaded_is_as_before_bit_for_bit(
    stock: StableDiffusionPipeline, pipe: StableDiffusionPipeline
) -> None:
    assert not torch.equal(answer(stock), answer(pipe))
    stock.unload_lora_weights()
    assert torch.equal(answer(stock), answer(pipe))
    kept = pipe.unet.state_dict()
    assert all(torch.equal(kept[name], w) for name, w in stock.unet.state_dict().items())
