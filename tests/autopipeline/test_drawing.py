"""companion.autopipeline.draw and sweep: what is asked for is on the pictures."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from companion import profile
from companion.autopipeline import (
    draw,
    load,
    make_scheduler,
    scheduler_names,
    sweep,
)
from companion.metrics import psnr
from companion.scenes import scene
from companion.zoo import recognise

FROG = scene(7, subset="stable-diffusion")  # "a frog on a brown background"
GHOST = scene(1, subset="stable-diffusion")  # "a picture of a ghost on a gray background"


def mask_of(array: np.ndarray, grow: int = 0) -> Image.Image:
    return Image.fromarray(array.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(2 * grow + 1))


def close(left: Image.Image, right: Image.Image, shades: int = 1) -> bool:
    difference = np.asarray(left, int) - np.asarray(right, int)
    return bool(np.abs(difference).max() <= shades)


def test_text_to_image_draws_what_the_prompt_says(pipe: Any) -> None:
    prompts = ["a dinosaur and sushi on a red background", "a rocket on a green background"]
    pictures = draw(pipe, prompts, seeds=[1, 2], num_inference_steps=15, guidance_scale=4.0)
    dinosaur, rocket = recognise(pictures)
    assert (set(dinosaur.objects), dinosaur.background) == ({"dinosaur", "sushi"}, "red")
    assert (rocket.objects, rocket.background) == (("rocket",), "green")


def test_strength_says_how_much_of_the_picture_is_left(pipes: dict[str, Any]) -> None:
    settings = {"image": GHOST.image, "num_inference_steps": 15, "guidance_scale": 4.0}
    prompt = "a panda on a blue background"
    little, much = (
        draw(pipes["image-to-image"], prompt, strength=strength, **settings)[0]
        for strength in (0.2, 0.9)
    )
    seen_little, seen_much = recognise([little, much])
    assert (seen_little.objects, seen_little.background) == (("ghost",), "gray")
    assert (seen_much.objects, seen_much.background) == (("panda",), "blue")


def test_inpainting_repaints_the_background_and_leaves_the_object(pipes: dict[str, Any]) -> None:
    (repainted,) = draw(
        pipes["inpainting"],
        "a frog on a blue background",
        image=FROG.image,
        mask_image=mask_of(~FROG.masks[0]),
        strength=0.8,
        num_inference_steps=25,
        guidance_scale=4.0,
    )
    (seen,) = recognise(repainted)
    assert (seen.objects, seen.background) == (("frog",), "blue")
    inside = ~np.asarray(mask_of(~FROG.masks[0], grow=4)).astype(bool)
    moved = np.abs(np.asarray(repainted, int) - np.asarray(FROG.image, int)).mean(axis=-1)
    assert moved[inside].mean() < 12  # the VAE's own loss
    assert moved[~FROG.masks[0]].mean() > 50


def test_inpainting_replaces_the_object(pipes: dict[str, Any]) -> None:
    (replaced,) = draw(
        pipes["inpainting"],
        "a panda on a brown background",
        image=FROG.image,
        mask_image=mask_of(FROG.masks[0], grow=8),
        num_inference_steps=15,
        guidance_scale=4.0,
    )
    (seen,) = recognise(replaced)
    assert (seen.objects, seen.background) == (("panda",), "brown")


def test_inpainting_keeps_the_size_of_a_picture_that_is_not_square(pipes: dict[str, Any]) -> None:
    wide = FROG.image.resize((96, 64))
    given = {"image": wide, "mask_image": Image.new("L", wide.size, 255), "num_inference_steps": 2}
    (drawn,) = draw(pipes["inpainting"], "a frog", **given)
    assert drawn.size == (96, 64)
    (asked,) = draw(pipes["inpainting"], "a frog", **given, height=64, width=64)
    assert asked.size == (64, 64)


def test_a_picture_depends_on_its_own_seed_alone(pipe: Any) -> None:
    few = {"num_inference_steps": 3, "guidance_scale": 4.0}
    several = draw(pipe, "a cat", seeds=[4, 5, 6], **few)
    (alone,) = draw(pipe, "a cat", seeds=5, **few)
    assert close(several[1], alone)
    assert not close(several[0], alone, shades=30)


def test_a_prompt_of_several_gets_its_own_seed(pipe: Any) -> None:
    few = {"num_inference_steps": 3, "guidance_scale": 4.0}
    both = draw(pipe, ["a cat", "a moon"], seeds=[4, 5], **few)
    assert close(both[1], draw(pipe, "a moon", seeds=5, **few)[0])


def test_super_resolution_comes_nearer_than_bicubic_enlarging() -> None:
    upscaler = load("super-resolution", profile("small")).to("cpu")
    example = scene(20_008, subset="stable-diffusion")
    coarse = example.image.resize((16, 16), Image.Resampling.BICUBIC)
    (drawn,) = draw(
        upscaler,
        example.caption,
        image=coarse,
        num_inference_steps=20,
        guidance_scale=1.5,
        noise_level=5,
    )
    assert drawn.size == (64, 64)
    bicubic = coarse.resize((64, 64), Image.Resampling.BICUBIC)
    assert psnr(drawn, example.image) > psnr(bicubic, example.image)
    seen = recognise(drawn)[0].objects
    assert set(seen) == {thing.name for thing in example.objects}


def test_depth_to_image_draws_another_object_in_the_same_place() -> None:
    pipe = load("depth-to-image", profile("small")).to("cpu")
    pipe.scheduler = make_scheduler("UniPC", pipe.scheduler)
    (drawn,) = draw(
        pipe,
        "a panda on a blue background",
        image=FROG.image,
        strength=1.0,
        num_inference_steps=20,
        guidance_scale=4.0,
    )
    (seen,) = recognise(drawn)
    assert (seen.objects, seen.background) == (("panda",), "blue")
    blue = np.abs(np.asarray(drawn, int) - np.asarray(drawn, int)[-1, -1]).max(axis=-1) < 50
    inside = FROG.masks[0]
    assert (~blue)[inside].mean() > 0.7  # the object lies where the frog was
    assert blue[~inside].mean() > 0.7


@pytest.mark.parametrize("task", ["text-to-image", "image-to-image"])
def test_the_unguided_steps_cost_half(pipes: dict[str, Any], task: str) -> None:
    sizes: list[int] = []
    pipe = pipes[task]
    inputs = {"image": FROG.image, "strength": 1.0} if task == "image-to-image" else {}
    hook = pipe.unet.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    draw(pipe, "a cat", seeds=[1, 2], guided=0.5, num_inference_steps=6, **inputs)
    hook.remove()
    assert sizes == [4] * 3 + [2] * 3


def test_without_guidance_in_the_end_the_picture_stays_nearly_the_same(pipe: Any) -> None:
    settings = {"seeds": 1, "num_inference_steps": 15, "guidance_scale": 4.0}
    prompt = "a rocket on a green background"
    (whole,), (most,) = (draw(pipe, prompt, guided=part, **settings) for part in (1, 0.7))
    assert 25 < psnr(whole, most) < 60
    assert recognise(whole) == recognise(most)


def test_a_sweep_draws_every_combination(pipe: Any) -> None:
    own = pipe.scheduler
    over = {"scheduler": ["PNDM", "UniPC"], "num_inference_steps": [2, 3]}
    drawn = sweep(pipe, "a cat", over, seeds=[1, 2], guidance_scale=4.0)
    assert [picture.settings["scheduler"] for picture in drawn] == ["PNDM"] * 4 + ["UniPC"] * 4
    assert [picture.seed for picture in drawn] == [1, 2] * 4
    assert [picture.unet_calls for picture in drawn[::2]] == [3, 4, 2, 3]  # PNDM calls once more
    assert drawn[0].label == "scheduler PNDM, num_inference_steps 2"
    assert pipe.scheduler is own
    (alone,) = draw(pipe, "a cat", seeds=2, num_inference_steps=3, guidance_scale=4.0)
    assert close(drawn[-1].picture, alone)


def test_a_sweep_that_fails_puts_the_scheduler_back(pipe: Any) -> None:
    own = pipe.scheduler
    with pytest.raises(ValueError, match="num_inference_steps is 0"):
        sweep(pipe, "a cat", {"scheduler": ["DDIM"], "num_inference_steps": [0]})
    assert pipe.scheduler is own


def test_a_sweep_over_no_list_is_refused(pipe: Any) -> None:
    for values in ("DDIM", []):
        with pytest.raises(ValueError, match="sweep over scheduler needs a list of values"):
            sweep(pipe, "a cat", {"scheduler": values})


def test_an_unknown_scheduler_is_refused_with_the_known_ones(pipe: Any) -> None:
    with pytest.raises(ValueError, match=r"no scheduler 'Heun2'; choose one of: DDPM, DDIM, "):
        make_scheduler("Heun2", pipe.scheduler)


@pytest.mark.parametrize("name", scheduler_names())
def test_every_scheduler_draws_what_the_prompt_says(pipe: Any, name: str) -> None:
    steps = {"DDPM": 50, "PNDM": 40}.get(name, 20)
    (drawn,) = sweep(
        pipe,
        "a rocket on a green background",
        {"scheduler": [name]},
        num_inference_steps=steps,
        guidance_scale=4.0,
        seeds=3,
    )
    (seen,) = recognise(drawn.picture)
    assert (seen.objects, seen.background) == (("rocket",), "green")
