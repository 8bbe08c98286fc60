"""companion.autopipeline.lean: parts that answer sooner, and answer the same."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from companion.attention import trace
from companion.autopipeline import draw, lean, optimise
from companion.autopipeline.deciding import Machine
from companion.metrics import psnr

ALL = (
    lean.products_in_bfloat16,
    lean.channels_last,
    lean.small_convolutions,
    lean.attention_as_products,
    lean.prompt_once,
)
SETTINGS: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 4.0}


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def unet(own: Any) -> Any:
    return own.unet


def answer(unet: Any, text: Tensor, side: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((len(text), 4, side, side), generator=generator)
    return unet(noise, torch.tensor(500), encoder_hidden_states=text).sample


def text(seed: int = 0, count: int = 2) -> Tensor:
    return torch.randn((count, 77, 96), generator=torch.Generator().manual_seed(seed))


def moved(was: Tensor, now: Tensor) -> float:
    return float((was - now).norm() / was.norm())


@pytest.mark.parametrize("side", [16, 24])
def test_what_is_computed_once_changes_no_answer(unet: Any, side: int) -> None:
    before = answer(unet, text(), side)
    assert lean.prompt_once(unet)
    for _ in range(2):
        assert moved(before, answer(unet, text(), side)) < 1e-5


def test_in_bfloat16_the_answer_moves_by_a_few_thousandths(unet: Any) -> None:
    before = answer(unet, text())
    for means in ALL:
        assert means(unet)
    assert 0 < moved(before, answer(unet, text())) < 0.004
    assert answer(unet, text()).dtype == torch.float32


def test_noise_and_time_keep_their_digits(unet: Any) -> None:
    lean.products_in_bfloat16(unet)
    kept = {name for name, weight in unet.named_parameters() if weight.dtype == torch.float32}
    assert {"conv_in.weight", "conv_out.weight", "time_embedding.linear_1.weight"} <= kept
    assert "up_blocks.2.resnets.1.conv_shortcut.weight" in kept
    assert "up_blocks.2.resnets.1.conv1.weight" not in kept


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 2, 0), (5, 1, 2), (3, 1, 0)],
)
@pytest.mark.parametrize("side", [4, 9, 40])
def test_a_convolution_as_a_product_is_that_convolution(
    kernel: int, stride: int, padding: int, side: int
) -> None:
    stock = nn.Sequential(nn.Conv2d(3, 5, kernel, stride, padding))
    mine = copy.deepcopy(stock)
    lean._replace(mine, "0", lean.ProductConv2d)
    pictures = torch.randn(2, 3, side, side)
    assert torch.allclose(mine(pictures), stock(pictures), atol=1e-5)


def counted(layer: nn.Module, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many products were made: a number for each."""
    made: list[int] = []
    honest = nn.Linear.forward

    def forward(self: nn.Linear, input: Tensor) -> Tensor:
        if self is layer:
            made.append(1)
        return honest(self, input)

    monkeypatch.setattr(nn.Linear, "forward", forward)
    return made


def test_keys_of_a_prompt_are_made_once_a_call(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lean.prompt_once(own.unet)
    layer = own.unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k
    made = counted(layer, monkeypatch)
    for calls in (1, 2):  # a new call of the pipeline makes them anew, as weights may be others
        draw(own, "a cat", num_inference_steps=4, guidance_scale=4.0)
        assert len(made) == calls


def test_embeddings_that_somebody_wrote_into_are_another_prompt(unet: Any) -> None:
    stock = copy.deepcopy(unet)
    lean.prompt_once(unet)
    prompt = text()
    answer(unet, prompt)
    prompt += 1
    assert moved(answer(stock, prompt), answer(unet, prompt)) < 1e-5


def test_guidance_in_a_part_of_the_steps_draws_the_same(own: Any, pipe: Any) -> None:
    optimise(own, Machine("cpu"), extras=())
    settings = {**SETTINGS, "num_inference_steps": 6, "guided": 0.5, "seeds": [1, 2]}
    pairs = zip(draw(own, "a cat", **settings), draw(pipe, "a cat", **settings), strict=True)
    assert min(psnr(*pair) for pair in pairs) > 80


def test_nothing_is_kept_while_gradients_are_recorded(unet: Any) -> None:
    lean.prompt_once(unet)
    prompt = text()
    answer(unet, prompt)
    with torch.enable_grad():
        prompt.requires_grad_()
        answer(unet, prompt).sum().backward()
    assert prompt.grad is not None
    assert float(prompt.grad.norm()) > 0


def in_place(layer: nn.Linear) -> None:
    layer.weight.data += 0.05  # as a LoRA that is fused does


def exchanged(layer: nn.Linear) -> None:
    layer.weight = nn.Parameter(layer.weight.detach() * 2)


@pytest.mark.parametrize("change", [in_place, exchanged])
def test_weights_that_change_count_from_the_next_call_on(own: Any, pipe: Any, change: Any) -> None:
    lean.prompt_once(own.unet)
    draw(own, "a cat", **SETTINGS)
    stock = copy.deepcopy(pipe.unet)
    for network in (stock, own.unet):
        change(network.get_submodule("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"))
    assert moved(answer(stock, text()), answer(own.unet, text())) < 1e-5
    assert moved(answer(pipe.unet, text()), answer(stock, text())) > 1e-4  # it does count


def test_a_lora_that_is_loaded_afterwards_counts(unet: Any) -> None:
    peft = pytest.importorskip("peft")
    stock = copy.deepcopy(unet)
    lean.prompt_once(unet)
    config = peft.LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False)
    answers = []
    for network in (stock, unet):
        torch.manual_seed(0)
        network.add_adapter(config)
        answers.append(answer(network, text()))
    assert moved(*answers) < 1e-5
    assert moved(answers[0], answer(unet, text(1))) > 0.01  # it is no constant


def test_a_copy_is_a_unet_of_its_own(unet: Any) -> None:
    lean.prompt_once(unet)
    before = answer(unet, text())
    other = copy.deepcopy(unet)
    for weight in unet.parameters():
        weight.data.zero_()
    assert moved(before, answer(other, text())) < 1e-5


def test_its_weights_are_saved_as_those_of_any_unet(own: Any, pipe: Any, tmp_path: Any) -> None:
    optimise(own, Machine("cpu", fast_bfloat16=True), extras=())
    own.save_pretrained(tmp_path)
    again = type(own.unet).from_pretrained(tmp_path / "unet")
    assert set(again.state_dict()) == set(pipe.unet.state_dict())
    assert moved(answer(pipe.unet, text()), answer(again, text())) < 0.01


@pytest.mark.parametrize("fast_bfloat16", [True, False])
def test_attention_maps_are_traced_as_ever(own: Any, pipe: Any, fast_bfloat16: bool) -> None:
    optimise(own, Machine("cpu", fast_bfloat16=fast_bfloat16), extras=())
    maps = []
    for made in (pipe, own):
        with trace(made) as traced:
            draw(made, "a cat", seeds=3, **SETTINGS)
        maps.append(traced.compute_global_heat_map().heat_maps)
    assert maps[0].shape == maps[1].shape
    assert moved(*maps) < (0.02 if fast_bfloat16 else 1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_other_numbers_of_pictures_and_sizes_work(
    own: Any, pipe: Any, copied: Callable[[Any], Any], count: int
) -> None:
    optimise(own, Machine("cpu", fast_bfloat16=True), extras=())
    settings = {**SETTINGS, "seeds": range(count), "height": 48, "width": 80}
    pairs = zip(draw(own, "a cat", **settings), draw(pipe, "a cat", **settings), strict=True)
    assert min(psnr(*pair) for pair in pairs) > 40
