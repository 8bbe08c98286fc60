"""LoRA by hand, and that it is peft's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn
from torch.optim import AdamW

from companion.finetuning import (
    LowRank,
    add_lora,
    drop_lora,
    lora_layers,
    lora_weights,
    merge_lora,
    put_lora_weights,
    scale_lora,
)

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


def answer(unet: UNet2DConditionModel) -> Tensor:
    """What the UNet gives for fixed latents."""
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(2, 4, 4, 4, generator=generator)
    words = torch.randn(2, 77, 16, generator=generator)
    answered: Tensor = unet(noisy, torch.tensor([10, 700]), words).sample
    return answered


@pytest.fixture
def taught() -> Callable[[nn.Module], None]:
    """Give the updates of a network, which begin as nothing, some numbers."""

    def teach(network: nn.Module) -> None:
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for layer in lora_layers(network).values():
                layer.up.copy_(torch.randn(layer.up.shape, generator=generator) / 10)

    return teach


def test_a_layer_is_at_first_what_it_was_then_its_update_counts_alpha_over_rank() -> None:
    linear, x = nn.Linear(6, 5), torch.randn(3, 6)
    layer = LowRank(linear, 2, 8.0)
    assert torch.equal(layer(x), linear(x))
    with torch.no_grad():
        layer.up.normal_()
    expected = x @ (linear.weight + 8.0 / 2 * layer.up @ layer.down).T + linear.bias
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.merged()(x), expected)
    assert torch.linalg.matrix_rank(layer.update.detach()) == 2


@pytest.mark.parametrize("rank", [0, 6])
def test_a_rank_that_no_update_has_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match=f"rank is {rank}.*a rank of 1 to 5"):
        LowRank(nn.Linear(6, 5), rank, 1.0)


def test_all_attention_gets_an_update_or_a_part_of_it(pipe: StableDiffusionPipeline) -> None:
    every = [name for name, _ in pipe.unet.named_modules() if name.endswith(tuple(ATTENTION))]
    for layers, part in (("all", "attn"), ("cross", "attn2"), ("self", "attn1")):
        added = add_lora(pipe.unet, 2, layers=layers)
        assert list(added) == [name for name in every if part in name]
        trained = {name for name, w in pipe.unet.named_parameters() if w.requires_grad}
        assert trained == {f"{name}.{thin}" for name in added for thin in ("down", "up")}
        drop_lora(pipe.unet)
    assert len(add_lora(pipe.text_encoder, 2)) == 2 * 4


def test_updates_are_not_put_beside_updates(pipe: StableDiffusionPipeline) -> None:
    add_lora(pipe.unet, 2)
    with pytest.raises(ValueError, match="has updates of low rank already"):
        add_lora(pipe.unet, 2)
    with pytest.raises(ValueError, match="has no attention projection"):
        add_lora(nn.Sequential(nn.Linear(4, 4)), 2)
    with pytest.raises(ValueError, match="no layers 'both'; choose one of: all, cross, self"):
        add_lora(pipe.text_encoder, 2, layers="both")


def test_dropped_is_as_before_bit_for_bit_and_merged_as_with_the_updates(
    pipe: StableDiffusionPipeline, taught: Callable[[nn.Module], None]
) -> None:
    before = {name: weight.clone() for name, weight in pipe.unet.state_dict().items()}
    add_lora(pipe.unet, 2, 4.0)
    taught(pipe.unet)
    kept = lora_weights(pipe.unet)
    with torch.no_grad():
        with_updates = answer(pipe.unet)
        scale_lora(pipe.unet, 0)
        without = answer(pipe.unet)
        drop_lora(pipe.unet)
        assert torch.equal(answer(pipe.unet), without)
    after = pipe.unet.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())

    add_lora(pipe.unet, 2, 4.0)
    put_lora_weights(pipe.unet, kept)
    merge_lora(pipe.unet)
    assert list(pipe.unet.state_dict()) == list(before)
    with torch.no_grad():
        torch.testing.assert_close(answer(pipe.unet), with_updates)
    assert (with_updates - without).abs().max() > 1e-3


def test_weights_of_other_layers_are_refused(pipe: StableDiffusionPipeline) -> None:
    add_lora(pipe.unet, 2, layers="cross")
    cross = lora_weights(pipe.unet)
    drop_lora(pipe.unet)
    add_lora(pipe.unet, 2)
    with pytest.raises(ValueError, match=r"do not fit the network: .*attn1.* in one of the two"):
        put_lora_weights(pipe.unet, cross)
    drop_lora(pipe.unet)
    add_lora(pipe.unet, 3, layers="cross")
    with pytest.raises(ValueError, match=r"has the shape \(2, 8\), but \(3, 8\) is needed"):
        put_lora_weights(pipe.unet, cross)


def test_training_is_pefts_step_by_step(pipe: StableDiffusionPipeline) -> None:
    by_hand, peft = pipe.unet, UNet2DConditionModel.from_config(pipe.unet.config)
    peft.load_state_dict(pipe.unet.state_dict())
    add_lora(by_hand, 2, 8.0)
    peft.add_adapter(LoraConfig(r=2, lora_alpha=8, target_modules=ATTENTION))
    first = lora_weights(by_hand)
    for name, weight in peft.named_parameters():
        if weight.requires_grad:
            weight.data.copy_(first[name.replace(".default", "")])
    wanted = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    networks = (by_hand, peft)
    optimizers = [
        AdamW([w for w in unet.parameters() if w.requires_grad], lr=1e-2) for unet in networks
    ]
    for _ in range(5):
        losses = []
        for unet, optimizer in zip(networks, optimizers, strict=True):
            loss = (answer(unet) - wanted).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(losses[1], rel=1e-6)
        theirs = get_peft_model_state_dict(peft)
        for name, weight in lora_weights(by_hand).items():
            torch.testing.assert_close(weight, theirs[name], rtol=1e-5, atol=1e-6)
    assert losses[0] < 1.5
    assert any(weight.any() for name, weight in theirs.items() if "lora_B" in name)


@pytest.mark.parametrize(
    ("rank", "alpha", "sentence"),
    [
        (2.0, 1.0, "rank is 2.0, but it is a whole number"),
        (True, 1.0, "rank is True"),
        (0, 1.0, "rank is 0"),
        (9, 1.0, "a rank of 1 to 8"),
        (2, float("nan"), "alpha is nan, but it is a finite number"),
        (2, float("inf"), "alpha is inf"),
        (2, 0, "alpha is 0, but it is above 0"),
        (2, "8", "alpha is '8'"),
    ],
)
def test_a_wrong_rank_or_alpha_is_refused_and_nothing_changed(
    rank: Any, alpha: Any, sentence: str, pipe: StableDiffusionPipeline
) -> None:
    with pytest.raises(ValueError, match=sentence):
        add_lora(pipe.unet, rank, alpha)
    assert not lora_layers(pipe.unet)
    assert all(weight.requires_grad for weight in pipe.unet.parameters())


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), "1", None])
def test_a_scale_that_is_no_number_is_refused(scale: Any, pipe: StableDiffusionPipeline) -> None:
    layers = add_lora(pipe.unet, 2, 4.0)
    with pytest.raises(ValueError, match=r"The scale is .* a finite number"):
        scale_lora(pipe.unet, scale)
    assert {layer.scale for layer in layers.values()} == {2.0}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (torch.full((8, 2), float("nan")), "holds NaN or infinity"),
        (torch.ones(8, 2, dtype=torch.int64), "no tensor of floating-point numbers"),
        ([[1.0]], "no tensor of floating-point numbers"),
        (torch.ones(8, 3), r"\(8, 3\), but \(16, 2\) is needed"),
    ],
)
def test_where_the_last_weights_are_wrong_none_is_put(
    wrong: Any, sentence: str, pipe: StableDiffusionPipeline
) -> None:
    add_lora(pipe.unet, 2, 4.0)
    before = {name: weight.clone() for name, weight in lora_weights(pipe.unet).items()}
    given: dict[str, Any] = {name: torch.ones_like(weight) for name, weight in before.items()}
    given[list(before)[-1]] = wrong
    with pytest.raises(ValueError, match=sentence):
        put_lora_weights(pipe.unet, given)
    assert all(torch.equal(before[name], w) for name, w in lora_weights(pipe.unet).items())
