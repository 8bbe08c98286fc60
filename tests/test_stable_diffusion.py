"""companion.stable_diffusion: equal to Diffusers' own pipeline, and plain about bad input."""

import copy
import gc
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import companion
from companion.stable_diffusion import (
    Parts,
    decode_latents,
    encode_image,
    encode_prompt,
    guided_noise,
    initial_noise,
    load_parts,
    text_to_image,
    token_pieces,
)
from companion.zoo import recognise
from damage import changeable_copy

transformers.logging.set_verbosity_error()  # the pipeline's import speaks of torchvision
from diffusers import StableDiffusionPipeline  # noqa: E402

# CLIP's own vocabulary: the ids are those of Stable Diffusion 1.x.
TOKENIZER = Path(companion.__file__).parent / "zoo/weights/stable-diffusion/tokenizer"
PROMPTS = ["a cat on a blue background", "a rocket above a moon"]

# The files of CompVis/stable-diffusion-v1-4, as they lie on the hub.
SD14_SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}
SD14_UNET = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "center_input_sample": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "downsample_padding": 1,
    "mid_block_scale_factor": 1,
    "act_fn": "silu",
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SD14_VAE = {
    "sample_size": 512,
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "act_fn": "silu",
    "norm_num_groups": 32,
}
SD14_TEXT_ENCODER = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "projection_dim": 768,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
}


def assemble(parts: Parts) -> StableDiffusionPipeline:
    """Diffusers' own pipeline of the same parts."""
    pipeline = StableDiffusionPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=parts.unet,
        scheduler=copy.deepcopy(parts.scheduler),  # the pipeline changes its state and config
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of random weights in the layout of Stable Diffusion 1.x, VAE factor 4."""
    torch.manual_seed(0)
    parts = Parts(
        tokenizer=CLIPTokenizer.from_pretrained(TOKENIZER),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=49408,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                projection_dim=16,
            )
        ),
        vae=AutoencoderKL(
            block_out_channels=(8, 8, 16),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            norm_num_groups=4,
            scaling_factor=0.7,
        ),
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=2,
            norm_num_groups=8,
        ),
        scheduler=PNDMScheduler(**SD14_SCHEDULER),
    )
    with torch.no_grad():
        # Random weights draw grey; larger ones let prompts and seeds show in the pictures.
        parts.vae.decoder.conv_out.weight *= 6
        for name, weight in parts.unet.named_parameters():
            if "attn2" in name and weight.ndim == 2:
                weight *= 4
    path = tmp_path_factory.mktemp("stable-diffusion")
    assemble(parts).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def parts(folder: Path) -> Parts:
    return load_parts(folder)


@pytest.fixture
def photo() -> Image.Image:
    ramp = np.mgrid[0:24, 0:32].sum(0)[..., None] * np.array([4, 2, 1])
    return Image.fromarray(ramp.astype(np.uint8))


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def same(ours: list[Image.Image], theirs: list[Image.Image]) -> bool:
    return len(ours) == len(theirs) and all(
        np.array_equal(np.asarray(left), np.asarray(right))
        for left, right in zip(ours, theirs, strict=True)
    )


# Loading


def test_parts_load_from_a_pipelines_folder(folder: Path, parts: Parts) -> None:
    assert isinstance(parts.scheduler, PNDMScheduler)
    assert parts.vae_scale_factor == 4
    assert parts.device == torch.device("cpu")
    assert not parts.unet.training
    assert load_parts(folder, dtype=torch.bfloat16).unet.dtype == torch.bfloat16


def as_on_the_hub(folder: Path, copy_to: Path) -> Path:
    """The model in the older form in which Stable Diffusion 1.x lies on the hub."""
    changeable_copy(folder, copy_to)

    tokenizer = copy_to / "tokenizer"
    model = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    (tokenizer / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tokenizer / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    (tokenizer / "tokenizer.json").unlink()

    def rename(path: Path, change: Callable[[str], str], **more: torch.Tensor) -> None:
        weights = {change(name): value for name, value in load_file(path).items()}
        save_file({**weights, **more}, path, metadata={"format": "pt"})

    # transformers 5.6 dropped the prefix, and the positions are no longer weights.
    positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    text_encoder = copy_to / "text_encoder/model.safetensors"
    rename(text_encoder, lambda name: f"text_model.{name.removeprefix('text_model.')}", **positions)

    # diffusers' first names for the VAE's attention.
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def older(name: str) -> str:
        for new, first in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{first}.")
        return name

    rename(copy_to / "vae/diffusion_pytorch_model.safetensors", older)

    for part in ("vae", "unet"):
        path = copy_to / part / "config.json"
        config = json.loads(path.read_text())
        if part == "vae":  # as then, the scaling factor is left to the class
            del config["scaling_factor"], config["shift_factor"]
        path.write_text(json.dumps({**config, "_diffusers_version": "0.2.2"}))
    config = {**SD14_SCHEDULER, "_class_name": "PNDMScheduler", "clip_sample": False}
    (copy_to / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    return copy_to


def test_parts_load_from_the_older_form_on_the_hub(
    folder: Path, parts: Parts, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        older = load_parts(as_on_the_hub(folder, tmp_path / "model"))
    assert older.vae.config.scaling_factor == 0.18215
    older.vae.register_to_config(scaling_factor=0.7)
    settings = {"seeds": [1, 2], "num_inference_steps": 3}
    assert same(
        text_to_image(older, PROMPTS, **settings), text_to_image(parts, PROMPTS, **settings)
    )


# Equal to the pipeline, bit for bit

SCHEDULERS = [
    ("PNDMScheduler", {}),
    ("UniPCMultistepScheduler", {}),
    ("UniPCMultistepScheduler", {"timestep_spacing": "linspace"}),
    ("DDIMScheduler", {}),  # would clip, see below
    ("EulerDiscreteScheduler", {}),  # init_noise_sigma is not 1, and the input is scaled
    ("DPMSolverMultistepScheduler", {}),
    ("DDPMScheduler", {}),  # draws noise at every step
    ("EulerAncestralDiscreteScheduler", {}),
]


@pytest.mark.parametrize(("name", "options"), SCHEDULERS, ids=lambda value: str(value))
def test_pictures_equal_the_pipelines(parts: Parts, name: str, options: dict) -> None:
    scheduler = getattr(diffusers, name).from_config(parts.scheduler.config, **options)
    swapped = replace(parts, scheduler=scheduler)
    settings = {"num_inference_steps": 6, "guidance_scale": 5.0}
    ours = text_to_image(swapped, PROMPTS, generator=seeded(3)[0], **settings)
    theirs = assemble(swapped)(PROMPTS, generator=seeded(3)[0], **settings).images
    assert same(ours, theirs)
    assert not same(ours[:1], ours[1:])


@pytest.mark.parametrize("scale", [0, 1, 1.5, 7.5])
@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_pictures_equal_the_pipelines_at_every_scale_and_count(
    parts: Parts, scale: float, steps: int
) -> None:
    settings = {"num_inference_steps": steps, "guidance_scale": scale}
    ours = text_to_image(parts, PROMPTS[0], generator=seeded(3)[0], **settings)
    theirs = assemble(parts)(PROMPTS[0], generator=seeded(3)[0], **settings).images
    assert same(ours, theirs)


def test_pictures_that_are_not_square_equal_the_pipelines(parts: Parts) -> None:
    settings = {"height": 24, "width": 40, "num_inference_steps": 3}
    ours = text_to_image(parts, PROMPTS, seeds=[1, 2], **settings)
    theirs = assemble(parts)(PROMPTS, generator=seeded(1, 2), **settings).images
    assert ours[0].size == (40, 24)
    assert same(ours, theirs)


def test_negative_prompts_equal_the_pipelines(parts: Parts) -> None:
    ours = text_to_image(
        parts, PROMPTS, negative_prompt=["moon", "cat"], seeds=[1, 2], num_inference_steps=3
    )
    theirs = assemble(parts)(
        PROMPTS, negative_prompt=["moon", "cat"], generator=seeded(1, 2), num_inference_steps=3
    ).images
    plain = text_to_image(parts, PROMPTS, seeds=[1, 2], num_inference_steps=3)
    assert same(ours, theirs)
    assert not same(ours, plain)


def test_half_precision_stays_within_a_shade_of_the_pipeline(folder: Path) -> None:
    # The pipeline maps -1..1 to 0..1 in half precision, we in single: a shade may round otherwise.
    half = load_parts(folder, dtype=torch.bfloat16)
    settings = {"num_inference_steps": 3, "guidance_scale": 5.0}
    (ours,) = text_to_image(half, PROMPTS[0], seeds=3, **settings)
    # Left alone, the pipeline draws in half precision, and for one seed torch up to 2.8 (and not
    # 2.13) then draws other numbers than in single.
    noise = initial_noise(half, ours.height, ours.width, seeded(3)[0])
    (theirs,) = assemble(half)(PROMPTS[0], latents=noise, **settings).images
    assert np.abs(np.asarray(ours, int) - np.asarray(theirs, int)).max() <= 2


# What the loop promises beyond that


def test_one_negative_prompt_serves_all(parts: Parts) -> None:
    settings = {"seeds": [1, 2], "num_inference_steps": 2}
    assert same(
        text_to_image(parts, PROMPTS, negative_prompt="moon", **settings),
        text_to_image(parts, PROMPTS, negative_prompt=["moon", "moon"], **settings),
    )


def test_a_picture_depends_on_its_own_seed_alone(parts: Parts) -> None:
    batch = text_to_image(parts, PROMPTS, seeds=[1, 2], num_inference_steps=3)
    alone = text_to_image(parts, PROMPTS[1], seeds=2, num_inference_steps=3)
    difference = np.asarray(batch[1], int) - np.asarray(alone[0], int)
    assert np.abs(difference).max() <= 1  # another batch size may sum in another order


def test_calls_do_not_disturb_each_other(parts: Parts) -> None:
    first = text_to_image(parts, PROMPTS[0], seeds=1, num_inference_steps=5)
    text_to_image(parts, PROMPTS[1], seeds=2, num_inference_steps=7)
    assert same(first, text_to_image(parts, PROMPTS[0], seeds=1, num_inference_steps=5))
    assert parts.scheduler.num_inference_steps is None


def count_calls(parts: Parts, **settings: float) -> list[int]:
    """The batch size of every call of the UNet."""
    sizes: list[int] = []
    hook = parts.unet.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    text_to_image(parts, PROMPTS[0], seeds=1, **settings)
    hook.remove()
    return sizes


def test_pndm_calls_the_unet_once_more_than_steps(parts: Parts) -> None:
    assert count_calls(parts, num_inference_steps=5) == [2] * 6


@pytest.mark.parametrize("scale", [0, 0.5, 1])
def test_without_guidance_no_unconditional_half_runs(parts: Parts, scale: float) -> None:
    assert count_calls(parts, num_inference_steps=5, guidance_scale=scale) == [1] * 6


def test_callback_sees_every_step(parts: Parts) -> None:
    seen = []
    text_to_image(
        parts,
        PROMPTS,
        height=16,
        num_inference_steps=3,
        callback=lambda step, t, latents: seen.append((step, int(t), tuple(latents.shape))),
    )
    assert seen == [(n, t, (2, 4, 4, 8)) for n, t in enumerate([667, 334, 334, 1])]


def test_predictions_are_not_clipped_as_pixels_are(parts: Parts) -> None:
    config = parts.scheduler.config
    clips = replace(parts, scheduler=diffusers.DDIMScheduler.from_config(config, clip_sample=True))
    free = replace(parts, scheduler=diffusers.DDIMScheduler.from_config(config, clip_sample=False))
    settings = {"seeds": 1, "num_inference_steps": 3}
    assert same(text_to_image(clips, "cat", **settings), text_to_image(free, "cat", **settings))
    assert clips.scheduler.config.clip_sample  # the caller's own is left alone


def test_nothing_keeps_gradients(parts: Parts) -> None:
    embeddings = encode_prompt(parts, "cat")
    noise = initial_noise(parts, 32, 32, None)
    assert not embeddings.requires_grad
    assert not guided_noise(parts.unet, noise, 1, embeddings, 1).requires_grad
    assert not decode_latents(parts, noise).requires_grad


# Guidance


def test_guidance_goes_past_the_conditional_prediction(parts: Parts) -> None:
    noise = initial_noise(parts, 32, 32, seeded(0)[0])
    both = torch.cat([encode_prompt(parts, ""), encode_prompt(parts, "cat")])
    unconditional, conditional = (guided_noise(parts.unet, noise, 9, e[None], 1) for e in both)
    expected = unconditional + 3 * (conditional - unconditional)
    assert torch.allclose(guided_noise(parts.unet, noise, 9, both, 3), expected, atol=1e-5)
    assert not torch.allclose(unconditional, conditional, atol=1e-3)


# Prompts


def test_token_pieces_are_77_with_start_and_end(parts: Parts) -> None:
    split = token_pieces(parts.tokenizer, "a photo of a cat")
    assert split.ids[:8] == (49406, 320, 1125, 539, 320, 2368, 49407, 49407)
    assert split.pieces[:7] == (
        "<|startoftext|>",
        "a</w>",
        "photo</w>",
        "of</w>",
        "a</w>",
        "cat</w>",
        "<|endoftext|>",
    )
    assert len(split.ids) == len(split.pieces) == 77
    assert split.truncated == ""


def test_75_words_fit_and_the_76th_is_cut_off(parts: Parts) -> None:
    assert token_pieces(parts.tokenizer, "cat " * 75).truncated == ""
    split = token_pieces(parts.tokenizer, "cat " * 75 + "and a dog")
    assert split.truncated.strip() == "and a dog"
    assert split.pieces[-2:] == ("cat</w>", "<|endoftext|>")
    assert len(split.ids) == 77


def test_a_prompt_that_is_cut_off_warns_and_names_the_words(
    parts: Parts, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(UserWarning, match="takes 77 tokens.*cut off: 'a lantern'"):
        long = encode_prompt(parts, "cat " * 75 + "a lantern")
    assert torch.equal(long, encode_prompt(parts, "cat " * 75))
    assert capfd.readouterr() == ("", "")  # and the tokenizer adds nothing of its own


def test_a_prompt_that_fits_does_not_warn(parts: Parts) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert encode_prompt(parts, PROMPTS).shape == (2, 77, 16)


def test_other_scripts_and_the_empty_prompt_are_prompts(parts: Parts) -> None:
    assert token_pieces(parts.tokenizer, "").pieces[:2] == ("<|startoftext|>", "<|endoftext|>")
    assert encode_prompt(parts, ["", "一只猫", "👻"]).shape == (3, 77, 16)


# The VAE


def test_latents_are_scaled_by_the_vaes_own_factor(parts: Parts, photo: Image.Image) -> None:
    latents = encode_image(parts, photo)
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        raw = parts.vae.encode(pixels).latent_dist.mean
        decoded = parts.vae.decode(raw).sample
    assert latents.shape == (1, 4, 6, 8)
    assert torch.allclose(latents, raw * 0.7, atol=1e-6)
    assert torch.allclose(decode_latents(parts, latents), decoded, atol=1e-4)


def test_a_vae_with_a_shift_gets_it_and_gives_it_back(parts: Parts, photo: Image.Image) -> None:
    plain = encode_image(parts, photo)
    image = decode_latents(parts, plain)
    parts.vae.register_to_config(shift_factor=0.25)
    try:
        shifted = encode_image(parts, photo)
        assert torch.allclose(shifted, plain - 0.25 * 0.7, atol=1e-6)
        assert torch.allclose(decode_latents(parts, shifted), image, atol=1e-4)
    finally:
        parts.vae.register_to_config(shift_factor=None)


def test_with_a_generator_latents_are_drawn(parts: Parts, photo: Image.Image) -> None:
    mean = encode_image(parts, photo)
    drawn, again, other = (encode_image(parts, photo, generator=g) for g in seeded(1, 1, 2))
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, other)
    assert not torch.equal(drawn, mean)


def test_pictures_encode_one_by_one_together_and_as_tensors(
    parts: Parts, photo: Image.Image
) -> None:
    both = encode_image(parts, [photo, photo.rotate(180)])
    tensor = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 127.5 - 1
    assert both.shape == (2, 4, 6, 8)
    assert torch.allclose(both[:1], encode_image(parts, photo), atol=1e-5)
    assert torch.allclose(both[:1], encode_image(parts, tensor), atol=1e-5)


# Noise


def test_noise_is_the_same_in_every_precision(folder: Path, parts: Parts) -> None:
    half = load_parts(folder, dtype=torch.bfloat16)
    noise = initial_noise(parts, 32, 32, seeded(5)[0])
    assert torch.equal(initial_noise(half, 32, 32, seeded(5)[0]), noise.bfloat16())


def test_one_generator_for_each_picture(parts: Parts) -> None:
    noise = initial_noise(parts, 32, 16, seeded(1, 2), batch=2)
    assert noise.shape == (2, 4, 8, 4)
    assert torch.equal(noise[1:], initial_noise(parts, 32, 16, seeded(2)[0]))


# Bad input, each in one sentence


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"prompt": []}, "list of prompts is empty"),
        ({"prompt": ["cat", None]}, "A prompt is a text, but None"),
        ({"height": 30}, "height 30 and width 32 .* multiples of 4"),
        ({"width": 33}, "height 32 and width 33 .* multiples of 4"),
        ({"height": -32}, "height -32 .* multiples of 4"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0, but at least 1"),
        ({"num_inference_steps": 10**9}, "is 1000000000, but the model knows 1000 noise levels"),
        ({"guidance_scale": -1}, "guidance_scale is -1, .* negative_prompt"),
        ({"prompt": PROMPTS, "seeds": [1]}, "2 prompts but 1 seeds"),
        ({"prompt": PROMPTS, "seeds": 1}, "2 prompts but 1 seeds"),
        ({"prompt": "cat", "seeds": [1, 2]}, "1 prompts but 2 seeds"),
        ({"prompt": PROMPTS, "generator": seeded(1)}, "2 prompts but 1 generators"),
        ({"prompt": PROMPTS, "negative_prompt": ["cat"]}, "2 prompts but 1 negative prompts"),
        ({"seeds": 1, "generator": seeded(1)}, "Both seeds and generator"),
        ({"seeds": 1.5}, "A seed is 1.5, but it is a whole number"),
        ({"seeds": 2**64}, "A seed has 64 bits at most"),
        ({"num_inference_steps": 2.0}, "num_inference_steps is 2.0, but it is a whole number"),
        ({"height": "32"}, "height is '32', but it is a whole number"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"guidance_scale": "7"}, "guidance_scale is '7'"),
        ({"guidance_scale": None}, "guidance_scale is None"),
        ({"guidance_scale": torch.ones(2)}, "guidance_scale is tensor"),
        ({"prompt": None}, "A prompt is a text, but None"),
        ({"prompt": 5}, "A prompt is a text, but int was given"),
        ({"prompt": "a \udcff"}, r"A prompt holds bytes that are no UTF-8, 'a \\udcff'"),
        ({"negative_prompt": "\ud800"}, "A negative prompt holds bytes that are no UTF-8"),
        ({"negative_prompt": [7]}, "A negative prompt is a text, but int was given"),
        ({"generator": 5}, r"A generator is a torch\.Generator, but 5 .*take seeds"),
        ({"generator": ["x"]}, "A generator is a torch"),
        ({"seeds": "7"}, "A seed is '7', but it is a whole number"),
        ({"height": 0}, "height 0 .* multiples of 4"),
        ({"width": 4100}, "width 4100 is too large: take at most 4096"),
    ],
)
def test_bad_input_is_said_in_one_sentence(parts: Parts, arguments: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        text_to_image(parts, **{"prompt": "cat", "num_inference_steps": 1, **arguments})
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_latents_and_noise_that_are_none_are_refused(parts: Parts) -> None:
    for wrong in (None, torch.zeros(1, 3, 8, 8), torch.zeros(4, 8, 8), np.zeros((1, 4, 8, 8))):
        with pytest.raises(ValueError, match=r"Latents are a tensor of shape \(batch, 4, height"):
            decode_latents(parts, wrong)
    for wrong in (torch.zeros(1, 4, 0, 8), torch.zeros(1, 4, 8, 8, dtype=torch.long)):
        with pytest.raises(ValueError, match="Latents are fractions"):
            decode_latents(parts, wrong)
    for given, says in (
        ((32.0, 32, None), "height is 32.0, but it is a whole number"),
        ((32, 32, None, 0), "batch is 0"),
        ((32, 32, seeded(1), 2), "There are 1 generators, but batch is 2"),
        ((32, 32, [5]), "A generator is a torch"),
    ):
        with pytest.raises(ValueError, match=says):
            initial_noise(parts, *given)
    with pytest.raises(ValueError, match="A picture is a PIL picture, but 'x' was given"):
        encode_image(parts, "x")


@pytest.mark.parametrize("name", [None, "", " ", 5])
def test_what_names_no_model_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match="is no model: give a folder, or an id of the hub"):
        load_parts(name)


@pytest.mark.parametrize(
    "name", ["DDPMWuerstchen", "FlowMatchEulerDiscrete", "ScoreSdeVe", "RePaint", "KarrasVe"]
)
def test_a_scheduler_that_steps_in_another_way_is_refused(parts: Parts, name: str) -> None:
    other = replace(parts, scheduler=getattr(diffusers, f"{name}Scheduler")())
    with pytest.raises(ValueError, match=f"A {name}Scheduler cannot draw with Stable Diffusion"):
        text_to_image(other, "cat", num_inference_steps=1)


def test_a_tensor_of_no_side_is_a_seed(parts: Parts) -> None:
    settings = {"num_inference_steps": 1}
    drawn = text_to_image(parts, "cat", seeds=torch.tensor(3), **settings)
    assert same(drawn, text_to_image(parts, "cat", seeds=3, **settings))


def test_numpys_numbers_are_numbers(parts: Parts) -> None:
    given = {"seeds": np.int64(3), "num_inference_steps": np.int32(2), "height": np.int64(16)}
    plain = {"seeds": 3, "num_inference_steps": 2, "height": 16}
    assert same(text_to_image(parts, "cat", **given), text_to_image(parts, "cat", **plain))


def test_pure_noise_at_the_first_step_is_refused_not_drawn_as_nan(parts: Parts) -> None:
    zero = diffusers.DDIMScheduler.from_config(
        parts.scheduler.config, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    with pytest.raises(ValueError, match=r"begins with pure noise .*rescale_betas_zero_snr=False"):
        text_to_image(replace(parts, scheduler=zero), "cat", num_inference_steps=2)


@pytest.mark.parametrize("name", ["utils", "StableDiffusionPipeline", "SchedulerMixin", 5, None])
def test_a_scheduler_that_is_none_is_refused(folder: Path, tmp_path: Path, name: object) -> None:
    changeable_copy(folder, tmp_path / "model")
    kept = tmp_path / "model" / "scheduler" / "scheduler_config.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "_class_name": name}))
    with pytest.raises(ValueError, match="which is none of Diffusers"):
        load_parts(tmp_path / "model")


class GeneratorElsewhere(torch.Generator):
    """Stands for a generator on a GPU."""

    device = torch.device("cuda")


def test_a_generator_that_is_not_on_the_cpu_is_refused(parts: Parts, photo: Image.Image) -> None:
    elsewhere = GeneratorElsewhere()
    for wrong in (elsewhere, [elsewhere]):
        with pytest.raises(ValueError, match=r"generator is on cuda.*torch\.Generator\(\)"):
            text_to_image(parts, "cat", generator=wrong)
    with pytest.raises(ValueError, match="generator is on cuda"):
        encode_image(parts, photo, generator=elsewhere)


def test_a_picture_of_any_mode_is_encoded_as_it_looks(parts: Parts, photo: Image.Image) -> None:
    clear = photo.convert("RGBA")
    clear.putalpha(0)
    white = Image.new("RGB", photo.size, "white")
    assert torch.equal(encode_image(parts, clear), encode_image(parts, white))
    turned = photo.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[274] = 6  # Orientation: to be turned back by a quarter
    assert torch.equal(encode_image(parts, turned), encode_image(parts, photo))


def test_pictures_that_cannot_be_encoded_are_refused(parts: Parts, photo: Image.Image) -> None:
    with pytest.raises(ValueError, match=r"height 24 and width 30 .* multiples of 4"):
        encode_image(parts, photo.crop((0, 0, 30, 24)))
    with pytest.raises(ValueError, match="2 pictures of 2 sizes"):
        encode_image(parts, [photo, photo.resize((8, 8))])
    with pytest.raises(ValueError, match=r"\(1, 4, 24, 32\)"):
        encode_image(parts, torch.zeros(1, 4, 24, 32))
    with pytest.raises(ValueError, match="0 pictures"):
        encode_image(parts, [])


# The embedded model


def test_the_embedded_model_draws_what_the_prompts_say() -> None:
    embedded = load_parts(TOKENIZER.parent)
    config = embedded.scheduler.config
    unipc = diffusers.UniPCMultistepScheduler.from_config(config, timestep_spacing="linspace")
    wanted = [("robot", "yellow"), ("frog", "brown"), ("rocket", "green"), ("ghost", "gray")]
    prompts = [f"a {thing} on a {colour} background" for thing, colour in wanted]
    settings = {"num_inference_steps": 20, "guidance_scale": 4.0}
    ours = text_to_image(replace(embedded, scheduler=unipc), prompts, seeds=range(4), **settings)
    seen = recognise(ours)
    assert (
        sum(picture.objects == (thing,) for picture, (thing, _) in zip(seen, wanted, strict=True))
        >= 3
    )
    assert (
        sum(picture.background == what for picture, (_, what) in zip(seen, wanted, strict=True))
        >= 3
    )


# Stable Diffusion 1.4's exact configuration


def fill(module: torch.nn.Module) -> None:
    """Give empty weights small random values: a million, repeated, as drawing all takes long."""
    values = torch.randn(1_000_003, generator=torch.Generator().manual_seed(0)).bfloat16()
    for name, weight in module.named_parameters():
        flat = weight.data.view(-1)
        if weight.ndim == 1:
            flat.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
            continue
        scale = weight[0].numel() ** -0.5
        for start in range(0, len(flat), len(values)):
            part = flat[start : start + len(values)]
            torch.mul(values[: len(part)], scale, out=part)


@pytest.fixture(scope="module")
def sd14() -> Iterator[Parts]:
    torch.manual_seed(0)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD14_UNET).to(torch.bfloat16)
        vae = AutoencoderKL(**SD14_VAE).to(torch.bfloat16)
    for network in (unet, vae):
        network.to_empty(device="cpu").eval()
        fill(network)
    yield Parts(
        tokenizer=CLIPTokenizer.from_pretrained(TOKENIZER),
        text_encoder=CLIPTextModel(CLIPTextConfig(**SD14_TEXT_ENCODER)).bfloat16().eval(),
        vae=vae,
        unet=unet,
        scheduler=PNDMScheduler(**SD14_SCHEDULER),
    )
    del unet, vae
    gc.collect()


@pytest.mark.slow
def test_sd14s_configuration_has_the_published_size(sd14: Parts) -> None:
    def parameters(network: torch.nn.Module) -> int:
        return sum(weight.numel() for weight in network.parameters())

    assert parameters(sd14.unet) == 859_520_964
    assert parameters(sd14.vae) == 83_653_863
    assert parameters(sd14.text_encoder) == 123_060_480
    assert sd14.vae_scale_factor == 8


@pytest.mark.slow
def test_sd14s_configuration_draws(sd14: Parts) -> None:
    steps = []
    (picture,) = text_to_image(
        sd14,
        "a photo of a cartoon character, looks like someone in Genshin Impact.",
        height=128,
        width=128,
        num_inference_steps=2,
        seeds=1145,
        callback=lambda step, t, latents: steps.append((int(t), tuple(latents.shape))),
    )
    assert picture.size == (128, 128)
    assert steps == [(501, (1, 4, 16, 16)), (1, (1, 4, 16, 16)), (1, (1, 4, 16, 16))]
    assert np.asarray(picture).std() > 1


@pytest.mark.slow
def test_sd14s_shapes_at_512(sd14: Parts) -> None:
    noise = initial_noise(sd14, 512, 512, seeded(1145)[0])
    embeddings = encode_prompt(sd14, ["", "a cat"])
    assert noise.shape == (1, 4, 64, 64)
    assert embeddings.shape == (2, 77, 768)
    with torch.device("meta"):  # shapes without arithmetic
        unet = UNet2DConditionModel(**SD14_UNET)
        vae = AutoencoderKL(**SD14_VAE)
    predicted = guided_noise(unet, noise.float().to("meta"), 1, embeddings.float().to("meta"), 7.5)
    assert predicted.shape == noise.shape
    assert vae.decode(predicted).sample.shape == (1, 3, 512, 512)


@pytest.mark.parametrize("parts", [None, 5, "CompVis/stable-diffusion-v1-4"])
def test_what_are_no_parts_is_said(parts: Any) -> None:
    for call in (
        lambda: text_to_image(parts, "cat"),
        lambda: encode_prompt(parts, "cat"),
        lambda: encode_image(parts, Image.new("RGB", (8, 8))),
        lambda: decode_latents(parts, torch.zeros(1, 4, 8, 8)),
        lambda: initial_noise(parts, 8, 8, None),
    ):
        with pytest.raises(ValueError, match=r"parts is .*, but it is what load_parts gives"):
            call()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"unet": None}, "unet is None"),
        ({"latents": 5}, "latents is 5, but it is a tensor of 4 sides"),
        ({"embeddings": torch.zeros(2)}, "embeddings is .* a tensor of 3 sides"),
        ({"timestep": "x"}, "timestep is 'x'"),
        ({"guidance_scale": "x"}, "guidance_scale is 'x'"),
    ],
)
def test_noise_is_predicted_of_tensors_only(
    parts: Parts, changed: dict[str, Any], says: str
) -> None:
    latents, embeddings = torch.zeros(1, 4, 8, 8), torch.zeros(1, 77, 8)
    given = {"unet": parts.unet, "latents": latents, "timestep": 1, "embeddings": embeddings}
    with pytest.raises(ValueError, match=says):
        guided_noise(**{**given, "guidance_scale": 1.0, **changed})


@pytest.mark.parametrize(
    "given", [{"dtype": "x"}, {"device": "x"}, {"device": 1.5}, {"revision": 5}, {"variant": 5}]
)
def test_what_no_parts_can_be_loaded_with_is_said(folder: Path, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(given))} is "):
        load_parts(folder, **given)


def test_a_callback_is_a_function(parts: Parts) -> None:
    with pytest.raises(ValueError, match="callback is 5, but it is a function"):
        text_to_image(parts, "cat", callback=5)


def test_pieces_are_of_a_text_and_a_tokenizer(parts: Parts) -> None:
    with pytest.raises(ValueError, match="A prompt is a text"):
        token_pieces(parts.tokenizer, None)
    with pytest.raises(ValueError, match="tokenizer is None"):
        token_pieces(None, "cat")
