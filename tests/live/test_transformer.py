"""The page's transformer answers as torch's, whatever its size, from what `export` wrote."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from flow_pictures import pipeline
from live_stage import SCRIPTS
from node_runner import Node

from companion.zoo import folder
from companion.zoo.export import export

PROMPTS = ["", "a robot and a tulip on an orange background", "Godzilla eats sushi 🍣, 4k " * 9]
TIMESTEPS = [1.0, 8.984, 750.25, 1000.0]


def another_size(to: Path) -> Path:
    """An untrained model of the SD3 layout with other sizes in every place."""
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    torch.manual_seed(0)
    text = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=48,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=3,
            hidden_act="quick_gelu",
            projection_dim=24,
            eos_token_id=49407,
        )
    )
    with torch.no_grad():  # most tokens say nothing, as in a model that was trained on few
        text.get_input_embeddings().weight[:49000] = 0
    transformer = SD3Transformer2DModel(
        sample_size=24,
        patch_size=4,
        in_channels=6,
        out_channels=6,
        num_layers=3,
        attention_head_dim=16,
        num_attention_heads=5,
        joint_attention_dim=96,
        caption_projection_dim=80,
        pooled_projection_dim=48,
        pos_embed_max_size=9,  # of which the middle is taken
    )
    vae = AutoencoderKL(
        down_block_types=2 * ("DownEncoderBlock2D",),
        up_block_types=2 * ("UpDecoderBlock2D",),
        block_out_channels=(24, 48),
        latent_channels=6,
        norm_num_groups=4,
        sample_size=48,
        scaling_factor=0.7,
        shift_factor=0.3,
    )
    for network in (text, transformer, vae):
        network.half()
    tokenizer = CLIPTokenizer.from_pretrained(
        folder("stable-diffusion"), subfolder="tokenizer", model_max_length=33
    )
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=2.0),
        vae=vae,
        text_encoder=text,
        text_encoder_2=text,
        text_encoder_3=None,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=None,
    ).save_pretrained(to)
    return to


def written(node: Node, path: Path) -> None:
    """What Python answers to a few questions, and the model as the page gets it."""
    export(path, node.folder)
    pipe = pipeline(path)
    config, vae = pipe.transformer.config, pipe.vae
    node.write_json("scripts", SCRIPTS)
    node.write_json("prompts", PROMPTS)
    node.write_json("timesteps", TIMESTEPS)
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(
        1, config.in_channels, config.sample_size, config.sample_size, generator=generator
    )
    with torch.no_grad():
        words, _, pooled, _ = pipe.encode_prompt(
            PROMPTS, None, None, do_classifier_free_guidance=False, max_sequence_length=0
        )
        answers = {"latents": latents, "words": words, "pooled": pooled}
        for t in TIMESTEPS:
            answers[f"velocity-{t:g}"] = pipe.transformer(
                hidden_states=torch.cat([latents] * len(PROMPTS)),
                timestep=torch.full((len(PROMPTS),), t),
                encoder_hidden_states=words,
                pooled_projections=pooled,
            ).sample
        own = latents / vae.config.scaling_factor + vae.config.shift_factor
        answers["decoded"] = vae.decode(own).sample
    for name, answer in answers.items():
        node.write_array(name, answer)


@pytest.mark.parametrize("model", [lambda _: folder("flow"), another_size])
def test_the_transformer_answers_as_torchs(
    node: Node, tmp_path: Path, model: Callable[[Path], Path]
) -> None:
    written(node, model(tmp_path / "model"))
    node.run("transformer.test.js")
