"""A joint-attention transformer, in Stable Diffusion 3's layout, tiny, with random weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from companion.attention import attribute, load, save, trace
from companion.attention.directions import DIRECTIONS
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
    """SD3's attention with the softmax written out; keeps the sum over the steps, pixels first."""

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
        self.summed = self.summed + weights
        mixed = (weights @ values).transpose(1, 2).flatten(2)
        words = mixed[:, pixels:]
        if not attn.context_pre_only:
            words = attn.to_add_out(words)
        return attn.to_out[0](mixed[:, :pixels]), words


@contextmanager
def recording(sd3: Any) -> Iterator[list[JointRecorder]]:
    """Give each block a recorder, and its own processor back after."""
    blocks = sd3.transformer.transformer_blocks
    recorders = [JointRecorder() for _ in blocks]
    before = [block.attn.processor for block in blocks]
    for block, recorder in zip(blocks, recorders, strict=True):
        block.attn.set_processor(recorder)
    try:
        yield recorders
    finally:
        for block, processor in zip(blocks, before, strict=True):
            block.attn.set_processor(processor)


PLACES = 4 * 8


def sized(of: Tensor) -> Tensor:
    """Maps (heads, items, places) as those of the latents, (heads, items, 8, 16)."""
    return F.interpolate(of.unflatten(-1, (4, 8)), size=(8, 16), mode="bicubic").clamp(min=0)


def test_maps_are_those_of_the_softmax_written_out(sd3: Any, draw: Draw) -> None:
    with recording(sd3) as recorders, trace(sd3) as maps:
        draw(sd3, [CAT, ROCKET], height=32, width=64)
    found = [sized(recorder.summed[3, :, :PLACES, PLACES:].mT) for recorder in recorders]
    expected = torch.cat(found).mean(0)
    ours = maps.compute_global_heat_map(image_idx=1)
    places = [token.position for token in ours.tokens.tokens]
    torch.testing.assert_close(ours.heat_maps, expected[places], atol=1e-6, rtol=1e-5)
    moon = [5, 77 + 4] if sd3.tokenizer_3 else [5]
    torch.testing.assert_close(
        ours.compute_word_heat_map("moon").heatmap, expected[moon].mean(0), atol=1e-6, rtol=1e-5
    )
    assert maps.factors() == [2]


def test_the_other_directions_are_those_of_the_same_softmax(sd3: Any, draw: Draw) -> None:
    with (
        recording(sd3) as recorders,
        trace(sd3, direction="picture to text") as to_text,
        trace(sd3, direction="picture to picture") as within,
        trace(sd3, direction="text to text") as words,
    ):
        draw(sd3, [CAT, ROCKET], height=32, width=64)
    read = [recorder.summed[3] for recorder in recorders]
    # What words read in the last block, nobody uses.
    assert (len(to_text.layers), len(within.layers), len(words.layers)) == (2, 3, 2)
    maps = to_text.compute_global_heat_map(image_idx=1)
    at = PLACES + torch.tensor([token.position for token in maps.tokens.tokens])
    expected = torch.cat([sized(shares[:, at, :PLACES]) for shares in read[:2]]).mean(0)
    torch.testing.assert_close(maps.heat_maps, expected, atol=1e-6, rtol=1e-5)
    expected = torch.cat([sized(shares[:, 8 + 3 : 8 + 4, :PLACES]) for shares in read]).mean(0)[0]
    for place in ((2, 6), (3, 7)):  # both are in row 1 and column 3 of the patches
        ours = within.compute_place_heat_map(place, image_idx=1).heatmap
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)
    table = torch.cat([shares[:, at][:, :, at] for shares in read[:2]]).mean(0)
    torch.testing.assert_close(words.compute_token_table(image_idx=1), table, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_shares_can_be_among_the_sources_alone(sd3: Any, draw: Draw, direction: str) -> None:
    source, reader = DIRECTIONS[direction]
    with (
        recording(sd3) as recorders,
        trace(sd3, "layer", direction=direction, among_sources=True) as maps,
    ):
        draw(sd3, CAT, num_inference_steps=1, height=32, width=64)
    part = {"picture": slice(PLACES), "text": slice(PLACES, None)}
    shares = recorders[0].summed[1][:, part[reader], part[source]]
    shares = (shares / shares.sum(-1, keepdim=True)).sum(0)
    positions = list(maps.positions)
    if reader == "text":
        shares = shares[positions]
    if source == "text":
        shares = shares[:, positions]
    if direction == "text to picture":
        shares = shares.mT
    (ours,) = (summed for key, summed in maps.sums.items() if key.layer == 0)
    torch.testing.assert_close(ours[0, 0].flatten(1), shares, atol=1e-6, rtol=1e-5)


def test_each_direction_has_its_own_question(sd3: Any, draw: Draw) -> None:
    with trace(sd3, direction="picture to picture") as within, trace(sd3) as maps:
        draw(sd3, CAT)
    with pytest.raises(ValueError, match="but this one is from picture to picture"):
        within.compute_global_heat_map()
    with pytest.raises(ValueError, match="compute_place_heat_map needs a trace with direction='pi"):
        maps.compute_place_heat_map((0, 0))
    for place in ((16, 0), (0, -1), "middle", 3):
        with pytest.raises(ValueError, match="a row below 16 and a column below 16"):
            within.compute_place_heat_map(place)  # type: ignore[arg-type]
    for other in ("picture", 3, None):
        with (
            pytest.raises(ValueError, match="it is one of: 'text to picture', 'picture to text'"),
            trace(sd3, direction=other),  # type: ignore[arg-type]
        ):
            pass


def test_a_picture_that_exists_is_noised_on_the_straight_path(sd3: Any) -> None:
    picture = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    seen: list[Any] = []
    handle = sd3.transformer.register_forward_pre_hook(
        lambda module, args, given: seen.append(given), with_kwargs=True
    )
    maps = attribute(
        sd3, picture, CAT, [0, 250, 1000 - 1], by="step", direction="picture to text",
        max_sequence_length=8,
    )  # fmt: skip
    handle.remove()
    clean, quarter, _ = (given["hidden_states"] for given in seen)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(quarter, 0.75 * clean + 0.25 * noise)
    assert [float(given["timestep"][0]) for given in seen] == [0, 250, 999]
    assert seen[0]["encoder_hidden_states"].shape[1] == 77 + 8
    assert maps.timesteps == [0, 250, 999]
    assert maps.compute_global_heat_map(step_idx=1).words == CAT.split()


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
