"""The task of the zoo's flow: what it learns from is what a stock pipeline gives."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.models.attention_processor import JointAttnProcessor2_0
from torch import nn
from transformers import CLIPTextModel

from companion.recipes.recipe import load_recipe
from companion.recipes.tasks import make_task
from companion.recipes.tasks.flow_matching import FlowMatching
from companion.zoo import folder

PROMPTS = ["a cat on a blue background", "sushi"]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> FlowMatching:
    """The task on four scenes, its weights moved away from where every gate is shut."""
    recipe = load_recipe("flow")
    short = replace(recipe, batch_size=2, settings=recipe.settings | {"cached_scenes": 4})
    made = make_task(short, torch.device("cpu"), tmp_path_factory.mktemp("flow"))
    assert isinstance(made, FlowMatching)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in made.transformer.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    return made


@pytest.mark.parametrize("empty", [0, 1, 7, 256])
@torch.no_grad()
def test_one_token_stands_for_all_the_empty_ones_of_a_stock_pipeline(
    task: FlowMatching, empty: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn((2, 4, 16, 16), generator=generator)
    timesteps = torch.tensor([300.0, 800.0])
    task.attention.count = max(1, empty)
    words, pooled = task.words(task.tokens(PROMPTS), min(1, empty))
    stock_words, _, stock_pooled, _ = task.pipeline().encode_prompt(
        PROMPTS,
        None,
        None,
        device="cpu",
        do_classifier_free_guidance=False,
        max_sequence_length=empty,
    )
    assert stock_words.shape == (2, 24 + empty, 192)
    task.transformer.set_attn_processor(task.attention)
    ours = task.transformer(latents, words, pooled, timesteps).sample
    task.transformer.set_attn_processor(JointAttnProcessor2_0())
    stock = task.transformer(latents, stock_words, stock_pooled, timesteps).sample
    torch.testing.assert_close(ours, stock, atol=1e-5, rtol=1e-5)


def test_the_text_encoder_begins_as_that_of_the_zoos_stable_diffusion(tmp_path: Path) -> None:
    recipe = load_recipe("flow")
    short = replace(recipe, settings=recipe.settings | {"cached_scenes": 4})
    task = make_task(short, torch.device("cpu"), tmp_path)
    assert isinstance(task, FlowMatching)
    stock = CLIPTextModel.from_pretrained(
        folder("stable-diffusion") / "text_encoder", dtype=torch.float32
    )
    ids = task.tokens(PROMPTS)
    with torch.no_grad():
        third = task.text_encoder(ids, output_hidden_states=True).hidden_states[-2]
        expected = stock(ids, output_hidden_states=True).hidden_states[3]
    torch.testing.assert_close(third, expected)


def test_the_loss_of_a_network_that_says_nothing_is_the_size_of_the_velocity(
    task: FlowMatching, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, weight in list(task.transformer.proj_out.named_parameters()):
        monkeypatch.setattr(task.transformer.proj_out, name, nn.Parameter(torch.zeros_like(weight)))
    task.transformer.set_attn_processor(task.attention)
    loss = task.loss(0, torch.Generator().manual_seed(1)).item()
    generator = torch.Generator().manual_seed(1)
    latents, _, _ = task.batch(generator)
    noise = torch.randn(latents.shape, generator=generator)
    assert loss == pytest.approx((noise - latents).square().mean().item(), rel=1e-4)


def test_a_saved_model_holds_its_own_parts_only(task: FlowMatching, tmp_path: Path) -> None:
    task.save(tmp_path)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert files == {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer_config.json",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/config.json",
    }
