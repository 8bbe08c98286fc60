"""Arguments that no file can tell: a wrong one is refused in one sentence, others are passed on."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.callbacks import SDCFGCutoffCallback
from PIL import Image

from companion import profile
from companion.autopipeline import draw, load, make_scheduler
from companion.metrics import psnr

GREY = Image.new("RGB", (64, 64), "gray")
FLAT = "is the same everywhere, so there is nothing to keep to"
NAN = float("nan")
UP, EMBEDS = "callback_on_step_end", "negative_prompt_embeds"


@pytest.fixture(scope="module")
def depth() -> Any:
    pipe = load("depth-to-image", profile("small"))
    pipe.scheduler = make_scheduler("UniPC", pipe.scheduler)
    return pipe


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("latents", [1, "x", np.zeros((1, 4, 16, 16))], "latents is a tensor of 1x4x16x16 frac"),
        ("latents", [torch.zeros(1, 4, 16, 16, dtype=torch.long)], "but torch.int64 was given"),
        ("latents", [torch.zeros(1, 3, 16, 16), torch.zeros(4, 16, 16)], "this call needs one of"),
        ("latents", [torch.zeros(2, 4, 16, 16), torch.zeros(())], "this call needs one of 1x4x16x"),
        ("latents", [torch.full((1, 4, 16, 16), NAN)], "latents holds NaN"),
        (EMBEDS, [1, torch.zeros(1, 77, 9)], "is a tensor of .*1x77x96"),
        ("prompt_embeds", [1], "prompt_embeds cannot be among the arguments"),
        ("output_type", ["np", "latent", "pt", 3], "output_type is .*, but RGB pictures are given"),
        ("cross_attention_kwargs", [3, [1], {1: 2}], "cross_attention_kwargs is .* a dict"),
        ("cross_attention_kwargs", [{"scale": "1"}], "scale of cross_attention_kwargs is '1'"),
        ("cross_attention_kwargs", [{"attention_mask": 1}], "no argument 'attention_mask' of"),
        (UP, [3, "x", lambda: None], f"{UP} is .*, but it is a function that takes the pipeline"),
        (f"{UP}_tensor_inputs", [3, "latents", ["x"], [None]], "a list of names of latents"),
        ("callback", [3, lambda _: None], "callback is .*, but it is a function that takes the"),
        ("callback_steps", [0, 1.5, "1"], "at least 1|a whole number"),
        ("ip_adapter_image", [GREY], "ip_adapter_image needs an IP-Adapter"),
        ("ip_adapter_image_embeds", [[1]], "ip_adapter_image_embeds needs an IP-Adapter"),
        ("clip_skip", [0, 1], "clip_skip does not work with the installed versions"),
        ("timesteps", [{9: 1}, {9, 1}], "is a list of"),
        ("timesteps", [[1, 9], [9, 9]], "timesteps have to fall"),
        ("sigmas", [[1, 9], [9, 9]], "sigmas have to fall"),
        ("sigmas", [[500.0, 1], [1, 0], [-1]], r"sigmas are above 0 and at most \d"),
        ("sigmas", [[NAN], ["1"], [float("inf")]], "is a finite number"),
        ("sigmas", [[9, 1]], "The scheduler UniPCMultistepScheduler does not take these sigmas"),
    ],
)
def test_what_would_fail_in_the_library_is_refused(
    pipe: Any, name: str, values: list[Any], says: str
) -> None:
    for value in values:
        with pytest.raises(ValueError, match=says) as caught:
            draw(pipe, "a cat", num_inference_steps=2, **{name: value})
        assert str(caught.value).endswith(".")
        assert str(caught.value).isprintable()


def test_what_fits_is_passed_on(own: Any) -> None:
    seen: list[int] = []
    fitting = {
        "latents": torch.randn(1, 4, 16, 16),
        EMBEDS: torch.zeros(1, 77, 96),
        "output_type": "pil",
        "cross_attention_kwargs": {"scale": 1.0},
        "callback": lambda step, *_: seen.append(step),
    }
    assert len(draw(own, "a cat", num_inference_steps=2, **fitting)) == 1
    assert seen == [0, 1]
    own.scheduler = make_scheduler("Euler", own.scheduler)
    assert len(draw(own, "a cat", sigmas=[9, 1.5])) == 1
    assert len(draw(own, "a cat", timesteps=np.array([900, 500]))) == 1


def test_a_misspelt_argument_of_the_attention_is_named(pipe: Any) -> None:
    with pytest.raises(ValueError, match="'scal' of cross_attention_kwargs: did you mean 'scale'"):
        draw(pipe, "a cat", cross_attention_kwargs={"scal": 0.5})


def test_a_callback_that_gives_nothing_only_looks(pipe: Any) -> None:
    seen: list[int] = []
    (looked,) = draw(pipe, "a cat", num_inference_steps=3, **{UP: lambda *a: seen.append(a[1])})
    assert seen == [0, 1, 2]
    assert psnr(looked, *draw(pipe, "a cat", num_inference_steps=3)) == float("inf")
    cutoff = SDCFGCutoffCallback(cutoff_step_ratio=0.5)  # pipelines know this kind by its class
    assert psnr(looked, *draw(pipe, "a cat", num_inference_steps=3, **{UP: cutoff})) < 100


@pytest.mark.parametrize(
    ("given", "says"),
    [
        *((given, "or nothing") for given in (5, "x", [], {"latents": None}, {"prompt_embeds": 5})),
        ({"latents": torch.zeros(1, 4, 8, 8)}, "latents of 1x4x8x8 back in place of 1x4x16x16"),
    ],
)
def test_a_callback_that_gives_something_else_is_named(pipe: Any, given: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"{UP} gave .*{says}"):
        draw(pipe, "a cat", num_inference_steps=2, **{UP: lambda *_: given})


def test_two_that_say_the_same_are_refused(pipe: Any) -> None:
    with pytest.raises(ValueError, match="timesteps and sigmas both say the noise levels"):
        draw(pipe, "a cat", timesteps=[9], sigmas=[9.0])
    with pytest.raises(ValueError, match="negative_prompt and negative_prompt_embeds say the same"):
        draw(pipe, "a cat", negative_prompt="", negative_prompt_embeds=torch.zeros(1, 77, 96))


def test_a_list_of_levels_has_as_many_steps_as_entries(copied: Any, pipes: Any) -> None:
    own = copied(pipes["image-to-image"])
    own.scheduler = make_scheduler("Euler", own.scheduler)
    with pytest.raises(ValueError, match=r"strength 0\.3 of 2 steps is less than one step"):
        draw(own, "a cat", image=GREY, strength=0.3, timesteps=[900, 500])


def test_a_crop_around_nothing_is_refused(pipes: dict[str, Any]) -> None:
    given = {"image": GREY, "mask_image": Image.new("L", (64, 64))}
    with pytest.raises(ValueError, match="the mask is black everywhere"):
        draw(pipes["inpainting"], "a cat", padding_mask_crop=8, **given)


@pytest.mark.parametrize(
    ("depth_map", "says"),
    [
        (1, "depth_map is a tensor of anyxanyxany fractions, but int"),
        (torch.zeros(64, 64), "depth_map is a tensor of 64x64, but"),
        (torch.rand(3, 64, 64), "3 depths in depth_map for 1 pictures"),
        (torch.full((1, 64, 64), NAN), "depth_map holds NaN"),
        (torch.ones(1, 64, 64), f"depth_map {FLAT}"),
    ],
)
def test_a_depth_that_is_none_is_refused(depth: Any, depth_map: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        draw(depth, "a cat", image=GREY, num_inference_steps=2, depth_map=depth_map)


def test_a_picture_without_depth_is_not_blamed_on_the_weights(depth: Any) -> None:
    black = Image.new("RGB", (64, 64))
    with pytest.raises(ValueError, match=f"seen in the picture {FLAT}"):
        draw(depth, "a cat", image=black, num_inference_steps=2)
    assert not depth.depth_estimator._forward_hooks
    ramp = torch.linspace(0, 1, 64).expand(1, 64, 64)
    assert len(draw(depth, "a cat", image=black, num_inference_steps=2, depth_map=ramp)) == 1
