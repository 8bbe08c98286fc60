"""A joint-attention transformer, in Stable Diffusion 3's layout, tiny, with random weights."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from diffusers.models.attention_processor import Attention
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from companion.attention import load, save, trace
from companion.zoo import folder

Draw = Callable[..., np.ndarray]
CAT, ROCKET = "a cat on a blue background", "a rocket above a moon"


def t5_tokenizer() -> PreTrainedTokenizerFast:
    """Words as T5 writes them, with the space in front, and an end but no start."""
    words = ["<pad>", "</s>", "<unk>", *(f"▁{word}" for word in (CAT + " " + ROCKET).split())]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.fixture(scope="module", params=["T5", "no T5"])
def sd3(request: pytest.FixtureRequest, tiny_text_encoder: Any) -> StableDiffusion3Pipeline:
    torch.manual_seed(0)
    clip = CLIPTokenizer.from_pretrained(folder("stable-diffusion") / "tokenizer")
    with_t5 = request.param == "T5"
    pipe = StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16,
            in_channels=16,
            num_layers=3,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=64,
            caption_projection_dim=32,
            pooled_projection_dim=64,
            pos_embed_max_size=32,
            qk_norm="rms_norm" if with_t5 else None,  # as in 3.5
            dual_attention_layers=(0,) if with_t5 else (),
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKL(
            latent_channels=16,
            block_out_channels=(8, 8, 16),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            norm_num_groups=4,
            shift_factor=0.06,
        ),
        text_encoder=tiny_text_encoder(),
        text_encoder_2=tiny_text_encoder(),
        tokenizer=clip,
        tokenizer_2=clip,
        text_encoder_3=T5EncoderModel(
            T5Config(vocab_size=16, d_model=64, d_kv=8, d_ff=64, num_layers=1, num_heads=2)
        ).eval()
        if with_t5
        else None,
        tokenizer_3=t5_tokenizer() if with_t5 else None,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


class JointRecorder:
    """SD3's attention with the softmax written out; keeps what pixels give to words."""

    def __init__(self) -> None:
        self.summed: Any = 0

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any
    ) -> tuple[Tensor, Tensor]:
        def heads(projected: Tensor, norm: Any) -> Tensor:
            split = attn.head_to_batch_dim(projected, out_dim=4)
            return split if norm is None else norm(split)

        pixels = hidden_states.shape[1]
        queries, keys, values = (
            torch.cat([heads(own, own_norm), heads(added, added_norm)], dim=2)
            for own, own_norm, added, added_norm in (
                (
                    attn.to_q(hidden_states),
                    attn.norm_q,
                    attn.add_q_proj(encoder_hidden_states),
                    attn.norm_added_q,
                ),
                (
                    attn.to_k(hidden_states),
                    attn.norm_k,
                    attn.add_k_proj(encoder_hidden_states),
                    attn.norm_added_k,
                ),
                (attn.to_v(hidden_states), None, attn.add_v_proj(encoder_hidden_states), None),
            )
        )
        weights = (queries @ keys.mT * attn.scale).softmax(-1)
        self.summed = self.summed + weights[:, :, :pixels, pixels:]
        mixed = (weights @ values).transpose(1, 2).flatten(2)
        words = mixed[:, pixels:]
        if not attn.context_pre_only:
            words = attn.to_add_out(words)
        return attn.to_out[0](mixed[:, :pixels]), words


def test_maps_are_those_of_the_softmax_written_out(sd3: Any, draw: Draw) -> None:
    recorders = [JointRecorder() for _ in sd3.transformer.transformer_blocks]
    before = [block.attn.processor for block in sd3.transformer.transformer_blocks]
    for block, recorder in zip(sd3.transformer.transformer_blocks, recorders, strict=True):
        block.attn.set_processor(recorder)
    try:
        with trace(sd3) as maps:
            draw(sd3, [CAT, ROCKET], height=32, width=64)
    finally:
        for block, processor in zip(sd3.transformer.transformer_blocks, before, strict=True):
            block.attn.set_processor(processor)
    found = [
        F.interpolate(
            recorder.summed[3].mT.unflatten(-1, (4, 8)), size=(8, 16), mode="bicubic"
        ).clamp(min=0)
        for recorder in recorders
    ]
    expected = torch.cat(found).mean(0)
    ours = maps.compute_global_heat_map(image_idx=1)
    places = [token.position for token in ours.tokens.tokens]
    torch.testing.assert_close(ours.heat_maps, expected[places], atol=1e-6, rtol=1e-5)
    moon = [5, 77 + 4] if sd3.tokenizer_3 else [5]
    torch.testing.assert_close(
        ours.compute_word_heat_map("moon").heatmap, expected[moon].mean(0), atol=1e-6, rtol=1e-5
    )
    assert maps.factors() == [2]


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_the_picture_is_the_same_bit_for_bit(sd3: Any, draw: Draw, guidance_scale: float) -> None:
    untraced = draw(sd3, CAT, guidance_scale=guidance_scale)
    with trace(sd3):
        traced = draw(sd3, CAT, guidance_scale=guidance_scale)
    assert np.array_equal(untraced, traced)


def test_words_get_what_pixels_leave(sd3: Any, draw: Draw) -> None:
    with trace(sd3, by=("step",)) as maps:
        draw(sd3, CAT)
    shares = maps.compute_global_heat_map(step_idx=0).heat_maps.sum(0)
    assert shares.max() < 0.9


def test_the_pass_with_layers_left_out_is_not_counted(sd3: Any, draw: Draw) -> None:
    with trace(sd3) as maps:
        draw(sd3, CAT, skip_guidance_layers=[1], skip_layer_guidance_stop=1.0)
    assert maps.steps == 3


def test_the_negative_prompt(sd3: Any, draw: Draw) -> None:
    with trace(sd3, negative=True) as maps:
        draw(sd3, CAT, negative_prompt=ROCKET)
    assert maps.compute_global_heat_map().words == ROCKET.split()


def test_maps_come_back_from_a_file(sd3: Any, draw: Draw, tmp_path: Any) -> None:
    with trace(sd3) as maps:
        draw(sd3, CAT)
    save(maps, tmp_path / "maps.safetensors")
    for word in ("cat", "background"):
        ours, theirs = (
            gathered.compute_global_heat_map().compute_word_heat_map(word).heatmap
            for gathered in (load(tmp_path / "maps.safetensors"), maps)
        )
        assert torch.equal(ours, theirs)


def test_different_prompts_for_its_encoders_are_refused(sd3: Any, draw: Draw) -> None:
    with trace(sd3), pytest.raises(ValueError, match="leave out prompt_3"):
        draw(sd3, CAT, prompt_3=ROCKET)
