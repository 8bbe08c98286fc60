"""A traced pipeline draws what it draws untraced, and is the same pipeline after."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from diffusers import PixArtTransformer2DModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, SlicedAttnProcessor
from peft import LoraConfig
from torch import nn

from companion.attention import HeatMaps, trace

Draw = Callable[..., np.ndarray]


@pytest.fixture
def own(pipe: Any) -> Any:
    """A pipeline with a UNet that the test may change."""
    pipe.unet = copy.deepcopy(pipe.unet)
    return pipe


def hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


@contextmanager
def unchanged(pipe: Any) -> Iterator[None]:
    """Check that nothing of the trace stays on the pipeline."""
    attributes = set(vars(pipe))
    processors = dict(pipe.unet.attn_processors)
    count = hooks(pipe.unet)
    yield
    assert hooks(pipe.unet) == count
    assert pipe.unet.attn_processors == processors
    assert "encode_prompt" not in set(vars(pipe)) - attributes


def maps_of(pipe: Any, draw: Draw, **given: Any) -> tuple[np.ndarray, HeatMaps]:
    with trace(pipe) as maps:
        pictures = draw(pipe, **given)
    return pictures, maps


def assert_same_maps(ours: HeatMaps, expected: HeatMaps) -> None:
    torch.testing.assert_close(
        ours.compute_global_heat_map().heat_maps,
        expected.compute_global_heat_map().heat_maps,
        atol=1e-5,
        rtol=1e-4,
    )


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_the_picture_is_the_same_bit_for_bit(pipe: Any, draw: Draw, guidance_scale: float) -> None:
    untraced = draw(pipe, guidance_scale=guidance_scale)
    with unchanged(pipe):
        traced, _ = maps_of(pipe, draw, guidance_scale=guidance_scale)
    assert np.array_equal(untraced, traced)


def test_sdxls_picture_is_the_same_bit_for_bit(sdxl: Any, draw: Draw) -> None:
    untraced = draw(sdxl)
    with unchanged(sdxl):
        traced, _ = maps_of(sdxl, draw)
    assert np.array_equal(untraced, traced)


def test_hooks_go_when_the_pipeline_raises(pipe: Any, draw: Draw) -> None:
    def fail(pipe: Any, step: int, t: int, given: dict[str, Any]) -> dict[str, Any]:
        raise ArithmeticError

    with unchanged(pipe), pytest.raises(ArithmeticError), trace(pipe):
        draw(pipe, callback_on_step_end=fail)


def test_hooks_go_when_a_layer_raises(own: Any, draw: Draw) -> None:
    def fail(*_: Any) -> None:
        raise ArithmeticError

    own.unet.mid_block.register_forward_pre_hook(fail)
    with unchanged(own), pytest.raises(ArithmeticError), trace(own):
        draw(own)


def test_one_trace_inside_another(pipe: Any, draw: Draw) -> None:
    with unchanged(pipe), trace(pipe) as outer, trace(pipe) as inner:
        draw(pipe)
    assert_same_maps(inner, outer)


@pytest.mark.parametrize("processor", [AttnProcessor(), SlicedAttnProcessor(1)])
def test_other_processors_stay_and_are_seen(own: Any, draw: Draw, processor: Any) -> None:
    _, expected = maps_of(own, draw)
    own.unet.set_attn_processor(processor)
    untraced = draw(own)
    with unchanged(own), trace(own) as maps:
        assert set(own.unet.attn_processors.values()) == {processor}
        traced = draw(own)
    assert np.array_equal(untraced, traced)
    assert_same_maps(maps, expected)


def test_a_processor_without_the_layers_keys_is_refused(own: Any, draw: Draw) -> None:
    class Blind:
        def __call__(self, attn: Any, hidden_states: Any, **_: Any) -> Any:
            return hidden_states

    own.unet.set_attn_processor(Blind())
    with (
        unchanged(own),
        pytest.raises(RuntimeError, match="carries a Blind, which does not use"),
        trace(own),
    ):
        draw(own)


def test_fused_projections_are_refused(own: Any) -> None:
    own.fuse_qkv_projections()
    with pytest.raises(ValueError, match="unfuse_qkv_projections"), trace(own):
        pass


def test_a_lora_is_seen(own: Any, draw: Draw) -> None:
    _, without = maps_of(own, draw)
    torch.manual_seed(0)
    own.unet.add_adapter(
        LoraConfig(r=2, target_modules=["attn2.to_q", "attn2.to_k"], init_lora_weights=False)
    )
    untraced = draw(own)
    with unchanged(own):
        traced, maps = maps_of(own, draw)
    assert np.array_equal(untraced, traced)
    own.unet.fuse_lora()
    _, fused = maps_of(own, draw)
    assert_same_maps(maps, fused)
    with pytest.raises(AssertionError):
        assert_same_maps(maps, without)


def test_a_lora_loaded_inside_the_trace_is_refused(own: Any, draw: Draw) -> None:
    with trace(own):
        own.unet.add_adapter(LoraConfig(r=2, target_modules=["attn2.to_q", "attn2.to_k"]))
        with pytest.raises(RuntimeError, match="load adapters before the trace begins"):
            draw(own)


def test_an_offloaded_model(own: Any, draw: Draw) -> None:
    expected_picture, expected = maps_of(own, draw)
    cpu_offload(own.unet, execution_device="cpu")  # the weights are fetched for each layer
    assert own.unet.conv_in.weight.device.type == "meta"
    with unchanged(own):
        traced, maps = maps_of(own, draw)
    assert np.array_equal(expected_picture, traced)
    assert_same_maps(maps, expected)


@pytest.mark.parametrize(
    "way",
    [
        pytest.param("torch.compile", marks=pytest.mark.slow),
        pytest.param("module.compile", marks=pytest.mark.slow),
        "repeated blocks",
    ],
)
def test_a_compiled_model_runs_eagerly_while_traced(own: Any, draw: Draw, way: str) -> None:
    torch.manual_seed(0)
    own.unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        mid_block_type=None,
        layers_per_block=1,
        cross_attention_dim=96,
        attention_head_dim=2,
    )
    plain, expected = maps_of(own, draw)
    runs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        def run(*given: Any) -> Any:
            runs.append(1)
            return graph(*given)

        return run

    if way == "torch.compile":
        own.unet = torch.compile(own.unet, backend=backend)
    elif way == "module.compile":
        own.unet.compile(backend=backend)
    else:
        own.unet.compile_repeated_blocks(backend=backend)
    try:
        compiled = draw(own)
        assert runs
        runs.clear()
        traced, maps = maps_of(own, draw)
        assert not runs
        assert np.array_equal(traced, plain)
        assert np.allclose(traced, compiled, atol=1e-4)
        assert_same_maps(maps, expected)
        draw(own)
        assert runs
    finally:
        torch._dynamo.reset()


def test_inference_mode(pipe: Any, draw: Draw) -> None:
    _, expected = maps_of(pipe, draw)
    with torch.inference_mode():
        _, maps = maps_of(pipe, draw)
    assert_same_maps(maps, expected)
    assert maps.compute_global_heat_map(normalize=True).heat_maps.max() <= 1


def test_half_precision_sums_in_float32(own: Any, draw: Draw) -> None:
    for part in (own.unet, own.text_encoder, own.vae):
        assert part.dtype == torch.float32
    _, expected = maps_of(own, draw)
    with trace(own) as maps, torch.autocast("cpu", torch.bfloat16):
        draw(own)
    assert {kept.dtype for kept in maps.sums.values()} == {torch.float32}
    ours = maps.compute_global_heat_map().heat_maps
    assert (ours - expected.compute_global_heat_map().heat_maps).abs().max() < 0.1


def test_a_unet_without_words_is_refused(pipe: Any) -> None:
    pipe.unet = UNet2DConditionModel(
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        cross_attention_dim=8,
        attention_head_dim=8,
    )
    with pytest.raises(ValueError, match="no cross-attention"), trace(pipe):
        pass


def test_words_do_not_read_in_a_unet(pipe: Any) -> None:
    for direction in ("picture to text", "text to text"):
        with (
            pytest.raises(ValueError, match="Words do not read in a UNet"),
            trace(pipe, direction=direction),
        ):
            pass


def test_places_of_a_unet_read_from_places(pipe: Any, draw: Draw) -> None:
    layer = pipe.unet.get_submodule("up_blocks.2.attentions.0.transformer_blocks.0.attn1")
    read: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        queries, keys = (
            project(inputs[0][1]).unflatten(-1, (module.heads, -1)).transpose(0, 1)
            for project in (module.to_q, module.to_k)
        )
        read.append((queries @ keys.mT * module.scale).softmax(-1))

    handle = layer.register_forward_hook(keep)
    untraced = draw(pipe)
    handle.remove()
    with unchanged(pipe), trace(pipe, direction="picture to picture") as maps:
        assert np.array_equal(draw(pipe), untraced)
    number = maps.layers.index("up_blocks.2.attentions.0.transformer_blocks.0")
    ours = maps.compute_place_heat_map((3, 5), layer_idx=number).heatmap
    expected = sum(read)[:, 3 * 16 + 5].mean(0).unflatten(0, (16, 16))  # type: ignore[index]
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)
    assert len(maps.layers) == 6


def test_another_kind_of_transformer_is_refused(pipe: Any) -> None:
    pipe.unet = PixArtTransformer2DModel(
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        cross_attention_dim=16,
        caption_channels=8,
        sample_size=8,
    )
    with pytest.raises(ValueError, match="A PixArtTransformer2DModel cannot be tr"), trace(pipe):
        pass


def test_something_else_than_a_pipeline_is_refused() -> None:
    with pytest.raises(ValueError, match="A str cannot be traced"), trace("pipe"):
        pass
