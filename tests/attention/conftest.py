"""The zoo's Stable Diffusion, a tiny SDXL, and the maps by the book: softmax written out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

transformers.logging.set_verbosity_error()  # the pipeline's import speaks of torchvision
from diffusers import (  # noqa: E402
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import Attention  # noqa: E402

from companion.attention import HeatMaps  # noqa: E402
from companion.zoo import folder  # noqa: E402

Draw = Callable[..., np.ndarray]


def quiet(pipe: Any) -> Any:
    """The pipeline without its progress bar."""
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def loaded() -> StableDiffusionPipeline:
    """The zoo's model in float32; tests take `pipe`."""
    path = str(folder("stable-diffusion"))
    return quiet(StableDiffusionPipeline.from_pretrained(path, dtype=torch.float32))


@pytest.fixture
def pipe(loaded: StableDiffusionPipeline) -> StableDiffusionPipeline:
    """A pipeline of its own for each test; the networks are shared."""
    return quiet(StableDiffusionPipeline(**loaded.components, requires_safety_checker=False))


@pytest.fixture(scope="session")
def sdxl() -> StableDiffusionXLPipeline:
    """SDXL's parts, tiny, with random weights."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(folder("stable-diffusion") / "tokenizer")
    return quiet(
        StableDiffusionXLPipeline(
            vae=tiny_vae(channels=4),
            text_encoder=clip_encoder(),
            text_encoder_2=clip_encoder(),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            unet=UNet2DConditionModel(
                sample_size=16,
                block_out_channels=(32, 64, 64),
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                layers_per_block=1,
                transformer_layers_per_block=(1, 1, 2),
                attention_head_dim=(2, 4, 8),
                cross_attention_dim=64,
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=32 + 6 * 8,
                norm_num_groups=8,
            ),
            scheduler=DDIMScheduler(),
            add_watermarker=False,
        )
    )


def tiny_vae(channels: int) -> AutoencoderKL:
    """A VAE of factor 4."""
    return AutoencoderKL(
        latent_channels=channels,
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        sample_size=64,
    )


def clip_encoder() -> CLIPTextModelWithProjection:
    """CLIP's text encoder of width 32."""
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=32,
        )
    )


@pytest.fixture(scope="session")
def tiny_text_encoder() -> Callable[[], CLIPTextModelWithProjection]:
    """`clip_encoder`, for tests."""
    return clip_encoder


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Draw with any pipeline: few steps, seed 7, pictures as floats (pictures, h, w, 3)."""

    def draw(pipe: Any, prompt: Any = "a cat on a blue background", **given: Any) -> np.ndarray:
        given = {
            "num_inference_steps": 3,
            "generator": torch.Generator().manual_seed(7),
            "output_type": "np",
            **given,
        }
        return pipe(prompt, **given).images

    return draw


class Recorder:
    """An attention processor that writes the softmax out and keeps the sum over the steps."""

    def __init__(self) -> None:
        self.summed: Any = 0

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any
    ) -> Tensor:
        queries = attn.head_to_batch_dim(attn.to_q(hidden_states), out_dim=4)
        keys = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states), out_dim=4)
        values = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states), out_dim=4)
        scores = torch.einsum("bhpd,bhtd->bhpt", queries, keys) * attn.scale
        weights = scores.softmax(-1)
        self.summed = self.summed + weights
        return attn.to_out[0]((weights @ values).transpose(1, 2).flatten(2))


class Reference:
    """The recorders of a UNet's layers, by name, and the map that comes of them."""

    def __init__(self) -> None:
        self.recorders: dict[str, Recorder] = {}

    def heat_maps(self, maps: HeatMaps, row: int) -> Tensor:
        """One row's map of every token, padding too, (tokens, height, width)."""
        size = (maps.height, maps.width)
        found = []
        for name in maps.layers:
            summed = self.recorders[f"{name}.attn2"].summed[row]  # heads, pixels, tokens
            for halvings in range(5):
                h, w = (-(-side // 2**halvings) for side in size)
                if h * w == summed.shape[1]:
                    grid = summed.transpose(1, 2).unflatten(-1, (h, w))
                    found += F.interpolate(grid, size=size, mode="bicubic").clamp(min=0)
        return torch.stack(found).mean(0)


@contextmanager
def recording(unet: UNet2DConditionModel) -> Iterator[Reference]:
    """Give each cross-attention layer of a UNet a recorder, and its own processor back after."""
    reference = Reference()
    before = {}
    for name, module in unet.named_modules():
        if isinstance(module, Attention) and name.endswith("attn2"):
            before[module] = module.processor
            reference.recorders[name] = Recorder()
            module.set_processor(reference.recorders[name])
    try:
        yield reference
    finally:
        for module, processor in before.items():
            module.set_processor(processor)


@pytest.fixture(scope="session")
def recorded() -> Any:
    """`recording`, for tests."""
    return recording
