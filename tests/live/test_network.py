"""The page's three networks answer as torch's, whatever their size, from what `export` wrote."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from live_stage import SCRIPTS
from node_runner import Node

from companion.stable_diffusion import Parts, encode_prompt, load_parts
from companion.zoo import folder
from companion.zoo.export import export

PROMPTS = ["", "a robot and a tulip on an orange background", "Godzilla eats sushi 🍣, 4k"]


def another_size(to: Path) -> Path:
    """An untrained Stable Diffusion of the same family with other sizes in every place."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    zoo = folder("stable-diffusion")
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=48,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=3,
            hidden_act="quick_gelu",
        )
    )
    with torch.no_grad():  # most tokens say nothing, as in a model that was trained on few
        text.get_input_embeddings().weight[:49000] = 0
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64, 96, 64),
        down_block_types=("DownBlock2D", *3 * ("CrossAttnDownBlock2D",)),
        up_block_types=(*3 * ("CrossAttnUpBlock2D",), "UpBlock2D"),
        layers_per_block=2,
        attention_head_dim=4,
        transformer_layers_per_block=2,
        norm_num_groups=8,
        cross_attention_dim=48,
        use_linear_projection=True,
    )
    vae = AutoencoderKL(
        down_block_types=2 * ("DownEncoderBlock2D",),
        up_block_types=2 * ("UpDecoderBlock2D",),
        block_out_channels=(24, 48),
        layers_per_block=2,
        norm_num_groups=4,
        sample_size=16,
    )
    for network in (text, unet, vae):
        network.half()
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=CLIPTokenizer.from_pretrained(zoo, subfolder="tokenizer"),
        unet=unet,
        scheduler=load_parts(str(zoo)).scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(to)
    return to


def written(node: Node, parts: Parts, model: Path) -> None:
    """What Python answers to a few questions, and the model as the page gets it."""
    export(model, node.folder)
    node.write_json("scripts", SCRIPTS)
    node.write_json("prompts", PROMPTS)
    generator = torch.Generator().manual_seed(1)
    side, size = parts.unet.config.sample_size, parts.vae.config.sample_size
    latents = torch.randn(1, 4, side, side, generator=generator)
    pixels = torch.rand(1, 3, size, size, generator=generator) * 2 - 1
    embeddings = torch.cat([encode_prompt(parts, prompt) for prompt in PROMPTS])
    answers: dict[str, Any] = {"latents": latents, "pixels": pixels, "embeddings": embeddings}
    with torch.no_grad():
        for t in (0, 601, 999):
            both = torch.cat([latents] * len(PROMPTS))
            answers[f"noise-{t}"] = parts.unet(both, t, encoder_hidden_states=embeddings).sample
        answers["decoded"] = parts.vae.decode(latents / parts.vae.config.scaling_factor).sample
        gaussian = parts.vae.encode(pixels).latent_dist
        answers["mean"], answers["std"] = gaussian.mean, gaussian.std
    for name, answer in answers.items():
        node.write_array(name, answer)


@pytest.mark.parametrize("model", [lambda _: folder("stable-diffusion"), another_size])
def test_the_networks_answer_as_torchs(
    node: Node, tmp_path: Path, model: Callable[[Path], Path]
) -> None:
    path = model(tmp_path / "model")
    written(node, load_parts(str(path)), path)
    node.run("network.test.js")
