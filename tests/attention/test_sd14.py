"""daam's numbers at Stable Diffusion 1.4's exact sizes, with random weights."""

import warnings
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from companion.attention import trace
from companion.zoo import folder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import daam


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*autocast:FutureWarning")
def test_daams_numbers_at_512_pixels() -> None:
    torch.manual_seed(0)
    pipe = StableDiffusionPipeline(
        tokenizer=CLIPTokenizer.from_pretrained(folder("stable-diffusion") / "tokenizer"),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                hidden_size=768, intermediate_size=3072, num_attention_heads=12, projection_dim=768
            )
        ),
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        vae=AutoencoderKL(  # only its factor of 8 matters here
            block_out_channels=(8,) * 4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=8,
        ),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    with daam.trace(pipe) as theirs, trace(pipe) as ours:
        pipe("a cat above a moon", num_inference_steps=1, output_type="latent")
    assert len(ours.layers) == 15
    assert set(ours.heads) == {8}
    assert ours.factors() == [1, 2, 4]

    def both(**given: Any) -> list[torch.Tensor]:
        return [gathered.compute_global_heat_map(**given).heat_maps for gathered in (theirs, ours)]

    every_layer = [{"layer_idx": layer} for layer in range(15)]
    for given in ({}, {"head_idx": 5}, {"factors": {2}}, {"normalize": True}, *every_layer):
        reference, found = both(**given)
        assert found.shape == (7, 64, 64)
        torch.testing.assert_close(found, reference, atol=1e-6, rtol=1e-5)
        assert reference.std() > 0
