"""A Stable Diffusion so small that a run takes a second: 16x16 pixels, random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

transformers.logging.set_verbosity_error()  # the pipeline's import speaks of torchvision
from diffusers import (  # noqa: E402
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import logging  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer  # noqa: E402

from companion.finetuning import FinetuneConfig  # noqa: E402
from companion.zoo import folder  # noqa: E402

logging.disable_progress_bar()


@pytest.fixture(autouse=True)
def always_one_thread(one_thread: None) -> None:
    """Weights are compared bit for bit."""


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the model, VAE factor 4."""
    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(4, 4, 8),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            norm_num_groups=2,
            sample_size=16,
            scaling_factor=1.0,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=49408,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                projection_dim=16,
                bos_token_id=49406,
                eos_token_id=49407,
                pad_token_id=49407,
            )
        ),
        tokenizer=CLIPTokenizer.from_pretrained(folder("stable-diffusion") / "tokenizer"),
        unet=UNet2DConditionModel(
            sample_size=4,
            block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=2,
            norm_num_groups=4,
        ),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    place = tmp_path_factory.mktemp("small") / "model"
    pipeline.save_pretrained(place)
    return place


@pytest.fixture
def pipe(small_model: Path) -> StableDiffusionPipeline:
    """The model, of its own for each test."""
    pipeline = StableDiffusionPipeline.from_pretrained(small_model, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def tiny(small_model: Path, tmp_path: Path) -> Callable[..., FinetuneConfig]:
    """Settings of a tiny run, with some changed."""

    def make(**changes: Any) -> FinetuneConfig:
        given: dict[str, Any] = {
            "model": str(small_model),
            "output_dir": str(tmp_path / "run"),
            "num_pictures": 3,
            "image_size": 16,
            "rank": 2,
            "alpha": 4.0,
            "steps": 6,
            "train_batch_size": 2,
            "learning_rate": 1e-2,
            "prior_pictures": 2,
            "checkpoint_every": 2,
            "log_every": 1,
            "progress_bar": False,
        }
        return FinetuneConfig(**{**given, **changes})

    return make


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Three pictures of a reader's own, one of them upright."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, size in enumerate([(20, 20), (20, 30), (40, 20)]):
        Image.new("RGB", size, (10, 20 * number, 30)).save(folder / f"{number}.png")
    return folder
