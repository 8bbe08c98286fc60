"""companion.flow: equal to Diffusers' scheduler, DDIM and pipeline, and plain about bad input."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
)
from PIL import Image
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
)

import companion
from companion import flow

transformers.logging.set_verbosity_error()  # the pipeline's import speaks of torchvision
from diffusers import StableDiffusion3Pipeline  # noqa: E402

TOKENIZER = Path(companion.__file__).parent / "zoo/weights/stable-diffusion/tokenizer"
PROMPTS = ["a cat on a blue background", "a rocket above a moon"]
FEW: dict[str, Any] = {"num_inference_steps": 3, "max_sequence_length": 5}


def text_encoder() -> CLIPTextModelWithProjection:
    """A tiny CLIP of random weights."""
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=16,
    )
    return CLIPTextModelWithProjection(config).eval()


@pytest.fixture(scope="module")
def parts() -> flow.Parts:
    """A tiny model of random weights in the layout of Stable Diffusion 3, VAE factor 2, no T5."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return flow.Parts(
            tokenizer=CLIPTokenizer.from_pretrained(TOKENIZER),
            text_encoder=text_encoder(),
            tokenizer_2=CLIPTokenizer.from_pretrained(TOKENIZER),
            text_encoder_2=text_encoder(),
            tokenizer_3=None,
            text_encoder_3=None,
            vae=AutoencoderKL(
                block_out_channels=(8, 8),
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
                norm_num_groups=4,
                scaling_factor=0.7,
                shift_factor=0.1,
            ).eval(),
            transformer=SD3Transformer2DModel(
                sample_size=8,
                patch_size=2,
                in_channels=4,
                out_channels=4,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=2,
                joint_attention_dim=40,
                caption_projection_dim=16,
                pooled_projection_dim=32,
                pos_embed_max_size=8,
            ).eval(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        )


@pytest.fixture(scope="module")
def with_t5(parts: flow.Parts) -> flow.Parts:
    """The same with a tiny T5."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = T5Config(
            vocab_size=49408, d_model=40, d_kv=8, d_ff=32, num_layers=1, num_heads=2, pad_token_id=0
        )
        return replace(
            parts, tokenizer_3=parts.tokenizer, text_encoder_3=T5EncoderModel(config).eval()
        )


def stock(parts: flow.Parts, prompts: list[str], **options: Any) -> list[Image.Image]:
    """What Diffusers' own pipeline draws of the same parts, seeds 1, 2, ..."""
    own = {**vars(parts), "scheduler": copy.deepcopy(parts.scheduler)}
    pipeline = StableDiffusion3Pipeline(**own)
    pipeline.set_progress_bar_config(disable=True)
    seeds = [torch.Generator().manual_seed(1 + n) for n in range(len(prompts))]
    drawn: list[Image.Image] = pipeline(prompts, generator=seeds, **{**FEW, **options}).images
    return drawn


def same(ours: list[Image.Image], theirs: list[Image.Image]) -> bool:
    return all(
        np.abs(np.asarray(a, int) - np.asarray(b, int)).max() <= 1
        for a, b in zip(ours, theirs, strict=True)
    )


# The path


def test_both_ends_of_a_path_follow_from_place_velocity_and_time() -> None:
    x_0, noise = torch.randn(2, 5, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]).view(5, 1, 1, 1)
    x_t, u = flow.interpolate(x_0, noise, t), flow.velocity(x_0, noise)
    assert torch.equal(x_t[0], x_0[0])
    assert torch.equal(x_t[-1], noise[-1])
    torch.testing.assert_close(flow.picture_of(x_t, u, t), x_0)
    torch.testing.assert_close(flow.noise_of(x_t, u, t), noise)
    torch.testing.assert_close(
        flow.velocity_from_noise(x_t[:-1], noise[:-1], t[:-1]), u[:-1], atol=1e-5, rtol=1e-5
    )


# The times


@pytest.mark.parametrize("shift", [0.5, 1, 2, 3, 6.7])
@pytest.mark.parametrize("steps", [1, 2, 8, 20, 28, 333, 1000])
def test_flow_times_are_the_scheduler_s_sigmas_to_the_last_bit(shift: float, steps: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(steps)
    assert torch.equal(flow.flow_times(steps, shift), scheduler.sigmas)


def test_a_shift_multiplies_the_ratio_of_noise_and_picture() -> None:
    t = torch.linspace(0.05, 0.95, 19)
    moved = flow.shifted(t, 3)
    torch.testing.assert_close(moved / (1 - moved), 3 * t / (1 - t), rtol=1e-5, atol=0)
    assert flow.resolution_shift(128 * 128, 64 * 64) == 2


def test_logit_normal_draws_lie_as_its_density_says() -> None:
    drawn = flow.logit_normal(200_000, 0.5, 0.8, torch.Generator().manual_seed(0))
    found, edges = np.histogram(drawn.numpy(), bins=20, range=(0, 1), density=True)
    middles = torch.from_numpy((edges[:-1] + edges[1:]) / 2)
    expected = flow.logit_normal_density(middles, 0.5, 0.8).numpy()
    assert np.abs(found - expected).max() < 0.05


# Sampling


def test_euler_follows_a_straight_line_to_its_end_in_any_number_of_steps() -> None:
    noise = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    seen: list[flow.Step] = []
    for steps in (1, 7):
        end = flow.euler(
            lambda x, t: torch.ones_like(x), noise, flow.flow_times(steps, 3), callback=seen.append
        )
        torch.testing.assert_close(end, noise - 1)
    assert [step.index for step in seen] == [0, *range(7)]
    assert seen[1].t == 1
    torch.testing.assert_close(seen[-1].predicted_x0, noise - 1)


def test_euler_takes_diffusers_steps_in_half_precision_too() -> None:
    noise = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0)).half()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3)
    scheduler.set_timesteps(9)
    theirs = noise
    for t in scheduler.timesteps:
        theirs = scheduler.step(torch.tanh(theirs) * (t / 1000), t, theirs).prev_sample
    ours = flow.euler(lambda x, t: torch.tanh(x) * t, noise, flow.flow_times(9, 3))
    assert ours.dtype == torch.float16
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)


def test_straightness_is_nothing_on_a_line_and_does_not_depend_on_the_scale() -> None:
    times = torch.tensor([1.0, 0.5, 0.0])
    line = torch.ones(2, 1, 2)
    bent = torch.tensor([[[1.0, 1.0]], [[1.0, -1.0]]])  # its chord is (1, 0), both are 1 off
    assert flow.straightness(line, times).tolist() == [0]
    assert flow.straightness(bent, times).tolist() == [1]
    assert flow.straightness(5 * bent, times).tolist() == [1]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_euler_along_a_ddpm_model_is_ddim(kind: str) -> None:
    scheduler = DDIMScheduler(
        prediction_type=kind, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True
    )
    scheduler.set_timesteps(10)
    table = scheduler.alphas_cumprod

    def predict(sample: Tensor, timestep: int) -> Tensor:
        return torch.tanh(sample) * (0.5 + timestep / 2000)

    noise = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    theirs = noise
    for t in scheduler.timesteps:
        theirs = scheduler.step(predict(theirs, int(t)), t, theirs).prev_sample

    alphas = torch.cat([table[scheduler.timesteps], torch.ones(1)])
    start = noise / flow.flow_scale(alphas[0])
    ours = flow.euler(flow.ddpm_velocity(predict, scheduler), start, flow.flow_time(alphas))
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-4)


def test_the_time_of_a_table_has_its_signal_to_noise_ratio() -> None:
    alpha_bar = DDIMScheduler().alphas_cumprod
    t = flow.flow_time(alpha_bar)
    torch.testing.assert_close(
        ((1 - t) / t) ** 2, alpha_bar / (1 - alpha_bar), rtol=2e-3, atol=1e-5
    )


# Text to image


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"guidance_scale": 1.0},
        {"negative_prompt": ["red", "a dog"], "guidance_scale": 3.0},
        {"max_sequence_length": 0},
        {"height": 8, "width": 12},
    ],
    ids=lambda options: ", ".join(options) or "as it comes",
)
@pytest.mark.parametrize("t5", [False, True], ids=["no T5", "T5"])
def test_pictures_are_those_of_diffusers_pipeline(
    parts: flow.Parts, with_t5: flow.Parts, options: dict[str, Any], t5: bool
) -> None:
    if t5 and options.get("max_sequence_length") == 0:
        options = {"max_sequence_length": 9}  # a T5 that reads nothing is no T5
    model = with_t5 if t5 else parts
    theirs = stock(model, PROMPTS, **options)
    ours = flow.text_to_image(model, PROMPTS, seeds=[1, 2], **{**FEW, **options})
    assert same(ours, theirs)


def test_another_shift_is_another_scheduler(parts: flow.Parts) -> None:
    other = replace(parts, scheduler=FlowMatchEulerDiscreteScheduler(shift=1.5))
    ours = flow.text_to_image(parts, PROMPTS[0], seeds=1, shift=1.5, **FEW)
    assert same(ours, stock(other, PROMPTS[:1]))


def test_a_saved_pipeline_is_loaded_by_its_parts(parts: flow.Parts, tmp_path: Path) -> None:
    StableDiffusion3Pipeline(**vars(parts)).save_pretrained(tmp_path)
    loaded = flow.load_parts(tmp_path)
    assert loaded.text_encoder_3 is None
    draw: Callable[[flow.Parts], list[Image.Image]] = lambda of: flow.text_to_image(  # noqa: E731
        of, PROMPTS[0], seeds=1, **FEW
    )
    assert same(draw(loaded), draw(parts))


def test_the_end_of_a_prompt_that_does_not_fit_is_named(parts: flow.Parts) -> None:
    with pytest.warns(UserWarning, match=r"77 tokens.* cut off: '.*dinosaur'"):
        flow.encode_prompt(parts, "a cat, " * 25 + "a dinosaur", max_sequence_length=0)


def test_the_callback_sees_every_step_of_a_picture(parts: flow.Parts) -> None:
    seen: list[flow.Step] = []
    flow.text_to_image(parts, PROMPTS, seeds=[1, 2], callback=seen.append, **FEW)
    assert [step.t for step in seen] == flow.flow_times(3, 3)[:-1].tolist()
    assert seen[0].sample.shape == (2, 4, 8, 8)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"prompt": []}, "The list of prompts is empty"),
        ({"prompt": 7}, "A prompt is a text"),
        ({"num_inference_steps": 0}, "num_steps is 1 to 1000, but 0"),
        ({"num_inference_steps": 1.5}, "num_steps is 1.5, but it is a whole number"),
        ({"guidance_scale": -1}, "guidance_scale is -1"),
        ({"shift": 0}, "shift is 0, but it is a number above 0"),
        ({"max_sequence_length": 513}, "max_sequence_length is 0 to 512"),
        ({"height": 10}, "multiples of 4"),
        ({"height": 64}, "at most 32 on a side"),
        ({"seeds": [1, 2]}, "1 prompts but 2 seeds"),
        ({"negative_prompt": [3]}, "A prompt is a text"),
        ({"callback": 3}, "The callback is 3"),
        ({"parts": None}, "what companion.flow.load_parts gives"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(parts: flow.Parts, given: dict[str, Any], sentence: str) -> None:
    options = {"parts": parts, "prompt": "a cat", **FEW, **given}
    with pytest.raises(ValueError, match=sentence):
        flow.text_to_image(options.pop("parts"), options.pop("prompt"), **options)


@pytest.mark.parametrize(
    ("scheduler", "sentence"),
    [
        (DDIMScheduler(), "but this loop is for FlowMatchEulerDiscreteScheduler"),
        (FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), "use_dynamic_shifting"),
        (FlowMatchEulerDiscreteScheduler(stochastic_sampling=True), "stochastic_sampling"),
    ],
    ids=["DDIM", "dynamic", "stochastic"],
)
def test_a_scheduler_that_steps_otherwise_is_refused(
    parts: flow.Parts, scheduler: Any, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        flow.text_to_image(replace(parts, scheduler=scheduler), "a cat", **FEW)


@pytest.mark.parametrize(
    ("times", "answer", "sentence"),
    [
        (torch.tensor([0.0, 1.0]), torch.ones_like, "have to fall"),
        (torch.tensor([2.0, 1.0]), torch.ones_like, "have to fall"),
        (torch.tensor([1.0]), torch.ones_like, "at least two"),
        ([1.0, 0.0], torch.ones_like, "they are a tensor"),
        (torch.tensor([1.0, 0.0]), lambda x: x[:, :1], r"\(2, 1\) came back"),
        (torch.tensor([1.0, 0.0]), lambda x: "much", "'much' came back"),
    ],
)
def test_euler_says_what_is_wrong(
    times: Any, answer: Callable[[Tensor], Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        flow.euler(lambda x, t: answer(x), torch.zeros(2, 3), times)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: flow.flow_times(1001), "num_steps is 1 to 1000"),
        (lambda: flow.flow_times(8, math.nan), "shift is nan"),
        (lambda: flow.resolution_shift(0, 4), "1 pixel or more"),
        (lambda: flow.logit_normal(0), "at least 1"),
        (lambda: flow.logit_normal(4, std=0), "std is 0"),
        (lambda: flow.ddpm_velocity(None, DDIMScheduler()), "predict is None"),  # type: ignore[arg-type]
        (
            lambda: flow.ddpm_velocity(lambda x, t: x, FlowMatchEulerDiscreteScheduler()),
            "a table of ᾱ",
        ),
        (lambda: flow.load_parts(""), "is no model"),
        (lambda: flow.load_parts("x", device="tpu9"), "device is 'tpu9'"),
        (lambda: flow.straightness(torch.ones(3, 1, 2), torch.ones(3)), "2 steps, but 3"),
    ],
)
def test_what_else_is_refused(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()
