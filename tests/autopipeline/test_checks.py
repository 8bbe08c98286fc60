"""What a call of a pipeline may not be given is said in one sentence before anything runs."""

import warnings
from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from companion import profile
from companion.autopipeline import draw, load, make_scheduler, optimise, sweep
from companion.metrics import psnr

GREY = Image.new("RGB", (64, 64), "gray")


@pytest.mark.parametrize(
    ("task", "arguments", "says"),
    [
        ("text-to-image", {"height": 60}, "The height is 60 pixels, but .* multiples of 8 .* 64"),
        ("text-to-image", {"width": -8}, "The width is -8 pixels"),
        ("text-to-image", {"num_inference_steps": 0}, "num_inference_steps is 0, but at least 1"),
        ("text-to-image", {"image": GREY}, "text-to-image takes no image: load 'image-to-image'"),
        ("text-to-image", {"prompt": []}, "A prompt is a text or a list of texts"),
        ("text-to-image", {"prompt": ["cat", "moon"]}, "2 prompts but 1 seeds"),
        ("text-to-image", {"seeds": []}, "There are no seeds"),
        ("text-to-image", {"guided": 1.5}, r"guided is 1\.5, but it is a part of the steps"),
        (
            "inpainting",
            {"image": GREY, "mask_image": GREY, "guided": 0.5},
            "inpainting cannot drop guidance on the way",
        ),
        ("image-to-image", {}, "image-to-image needs image, a picture"),
        ("image-to-image", {"image": "cat.png"}, "image is a PIL picture, but str"),
        ("image-to-image", {"image": GREY, "strength": 1.2}, r"strength is 1\.2, but it is 0 "),
        ("image-to-image", {"image": GREY, "strength": -0.1}, r"strength is -0\.1"),
        ("image-to-image", {"image": GREY, "strength": 0.1}, r"less than one step: .* least 0\.5"),
        ("image-to-image", {"image": GREY.resize((63, 64))}, "width of image is 63 .* take 64"),
        (
            "image-to-image",
            {"image": GREY, "mask_image": GREY},
            "takes no mask_image: .*inpainting",
        ),
        ("inpainting", {"image": GREY}, "inpainting needs mask_image"),
        (
            "inpainting",
            {"image": GREY, "mask_image": GREY.resize((32, 48))},
            r"mask is 32x48 and the picture 64x64: .*resize",
        ),
    ],
)
def test_bad_input_is_said_in_one_sentence(
    pipes: dict[str, Any], task: str, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        draw(pipes[task], **{"prompt": "a cat", "num_inference_steps": 2, **arguments})
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_the_end_of_a_prompt_that_is_not_read_is_named(pipe: Any) -> None:
    with pytest.warns(UserWarning, match="takes 77 .*not read: 'a lantern'.*fewer words") as caught:
        draw(pipe, "cat " * 75 + "a lantern", num_inference_steps=1)
    assert caught[0].filename == __file__


def test_a_full_memory_is_one_sentence_with_the_remedy(
    pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setitem(vars(pipe.unet), "forward", full)
    with pytest.raises(
        MemoryError, match="memory of the device is full: try fewer than 2 "
    ) as caught:
        draw(pipe, "a cat", seeds=[1, 2], num_inference_steps=1)
    assert "optimise(pipe)" in str(caught.value)


def test_other_errors_stay_what_they_are(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setitem(vars(pipe.unet), "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        draw(pipe, "a cat", num_inference_steps=1)


# Names


@pytest.mark.parametrize(
    ("task", "name", "says"),
    [
        ("text-to-image", "guidance_scal", "did you mean 'guidance_scale'?"),
        ("text-to-image", "num_inference_step", "did you mean 'num_inference_steps'?"),
        ("text-to-image", "seed", "did you mean 'seeds'?"),
        ("image-to-image", "stength", "did you mean 'strength'?"),
        ("text-to-image", "strength", "no argument 'strength' of the task text-to-image"),
        ("text-to-image", "zzz", "there are callback"),
        ("text-to-image", "generator", "generator cannot be among the arguments: prompt and seeds"),
        ("text-to-image", "num_images_per_prompt", "prompt and seeds say it."),
    ],
)
def test_an_argument_that_there_is_not_is_refused(
    pipes: dict[str, Any], task: str, name: str, says: str
) -> None:
    inputs = {"image": GREY} if task == "image-to-image" else {}
    with pytest.raises(ValueError, match="argument") as caught:
        draw(pipes[task], "a cat", **inputs, **{name: 0.5})
    assert says in str(caught.value)


def test_what_the_pipelines_themselves_take_is_passed_on(pipe: Any) -> None:
    seen: list[int] = []

    def look(_: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append(step)
        return tensors

    draw(pipe, "a cat", num_inference_steps=2, callback_on_step_end=look, height=None, eta=0.0)
    assert seen == [0, 1]
    with pytest.raises(ValueError, match="guided needs callback_on_step_end for itself"):
        draw(pipe, "a cat", guided=0.5, callback_on_step_end=look)


# Numbers


SEVEN = [7, np.int64(7), np.uint8(7), np.array(7), torch.tensor(7), [7], (7,), range(7, 8)]


@pytest.mark.parametrize("seeds", [*SEVEN, np.array([7]), torch.tensor([7]), iter([7])])
def test_whole_numbers_of_every_library_are_seeds(pipe: Any, seeds: Any) -> None:
    (drawn,) = draw(pipe, "a cat", seeds=seeds, num_inference_steps=1)
    (expected,) = draw(pipe, "a cat", seeds=7, num_inference_steps=1)
    assert psnr(drawn, expected) == float("inf")


def test_the_largest_seed_is_one(pipe: Any) -> None:
    assert len(draw(pipe, "a cat", seeds=[0, 2**64 - 1], num_inference_steps=1)) == 2


NO_SEEDS = [-1, 2**64, 10**30, 10**5000, True, np.True_, torch.tensor(True), 2.0, np.float32(2)]
NO_SEEDS += ["7", b"7", None, [1, "2"], [None], [[1]], np.ones((2, 2), int), [torch.tensor(1.5)]]


@pytest.mark.parametrize("number", range(len(NO_SEEDS)))
def test_anything_else_is_no_seed(pipe: Any, number: int) -> None:
    with pytest.raises(ValueError, match=r"^A seed is .*, but it is a whole number.*\.$"):
        draw(pipe, "a cat", seeds=NO_SEEDS[number])


def test_more_seeds_than_can_be_drawn_are_refused(pipe: Any) -> None:
    with pytest.raises(ValueError, match="more than 10,000 seeds: draw fewer at once"):
        draw(pipe, "a cat", seeds=range(10**12))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("num_inference_steps", [2.0, True, "2", [2], np.float64(2)], "is a whole number"),
        ("num_inference_steps", [0, -1, np.int64(0)], "but at least 1 is needed"),
        ("num_inference_steps", [10**9, 1001, 10**5000], "knows 1000 noise levels"),
        ("guidance_scale", [NAN, INF, -INF, "7", b"7", True, [7], 1j, 10**400], "a finite number"),
        ("guidance_scale", [np.float32("nan"), torch.tensor(INF), np.ones(2)], "a finite number"),
        ("guided", [NAN, "1", True], "is a finite number"),
        ("guided", [-0.1, 1.1], "a part of the steps"),
        ("eta", [NAN, "0"], "is a finite number"),
        ("eta", [64, -1], "a part of DDPM's noise: 0 to 1"),
        ("height", ["64", 64.0, True, NAN], "is a whole number"),
        ("width", [0, -8, 63, np.int8(-8)], "multiples of 8 only"),
        ("width", [4104, 10**9, 10**5000], "more than 4096: take a smaller one"),
        ("clip_skip", [99, -1], "with this model it is 0 to"),
        ("negative_prompt", [5, b"x", "\udc80"], "is a text, but|no UTF-8"),
        ("negative_prompt", [["a", "b"], []], "negative prompts for 1 prompts"),
        ("timesteps", ["12", 5, [], [1.5], [5000], [-1]], "a list of|whole number|from 0 to 999"),
    ],
)
def test_numbers_that_no_call_can_have_are_refused(
    pipe: Any, name: str, values: list[Any], says: str
) -> None:
    for value in values:
        with pytest.raises(ValueError, match=says) as caught:
            draw(pipe, "a cat", **{name: value})
        assert str(caught.value).endswith(".")
        assert len(str(caught.value)) < 250


def test_strength_of_no_number_is_refused(pipes: dict[str, Any]) -> None:
    for value in (NAN, INF, "1", True):
        with pytest.raises(ValueError, match=r"strength is .* finite number"):
            draw(pipes["image-to-image"], "a cat", image=GREY, strength=value)


def test_a_noise_level_beyond_the_upscalers_is_refused() -> None:
    upscaler = load("super-resolution", profile("small"))
    with pytest.raises(ValueError, match="noise_level is 5000, but with this model it is 0 to 100"):
        draw(upscaler, "a cat", image=GREY.resize((16, 16)), noise_level=5000)


def test_numbers_of_numpy_and_torch_are_numbers(pipe: Any) -> None:
    few = {"num_inference_steps": np.int64(2), "guidance_scale": np.float32(4)}
    (drawn,) = draw(pipe, "a cat", guided=torch.tensor(1), **few)
    (expected,) = draw(pipe, "a cat", num_inference_steps=2, guidance_scale=4.0)
    assert psnr(drawn, expected) == INF


# Prompts


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("a \udcff cat", r"The prompt holds bytes that are no UTF-8, 'a \\udcff cat': save"),
        (["a cat", "\ud800"], "no UTF-8"),
        ("a" * 100_001, "has 100,001 characters, more than 100,000"),
        (None, "A prompt is a text or a list of texts"),
        (5, "A prompt is a text or a list of texts"),
        (b"a cat", "A prompt is a text or a list of texts"),
        ({"a": 1}, "A prompt is a text or a list of texts"),
        (["a cat", None], "A prompt is a text or a list of texts"),
    ],
)
def test_what_no_tokenizer_reads_is_no_prompt(pipe: Any, prompt: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        draw(pipe, prompt, seeds=[1, 2])
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("prompt", ["", "\0", "\x1b[31m\x07", "\u202e", "🐱 猫\n"])
def test_odd_prompts_are_drawn(pipe: Any, prompt: str) -> None:
    assert len(draw(pipe, prompt, num_inference_steps=1)) == 1


def test_one_negative_prompt_serves_several_prompts(pipe: Any) -> None:
    settings = {"negative_prompt": "red", "num_inference_steps": 2, "guidance_scale": 4.0}
    both = draw(pipe, ["a cat", "a moon"], seeds=[4, 5], **settings)
    assert psnr(both[1], draw(pipe, ["a moon"], seeds=5, **settings)[0]) > 48


def test_a_very_long_end_of_a_prompt_is_named_in_part(pipe: Any) -> None:
    with pytest.warns(UserWarning, match="is not read") as caught:
        draw(pipe, "cat \x1b[2J" * 5_000, num_inference_steps=1)
    said = str(caught[0].message)
    assert len(said) < 500
    assert "\x1b" not in said


# Pictures


def as_saved(mode: str) -> Image.Image:
    """A blue picture with a yellow disc, in a mode that people have."""
    y, x = np.mgrid[:64, :64]
    disc = ((x - 32) ** 2 + (y - 32) ** 2 < 300)[..., None]
    return Image.fromarray(np.where(disc, (250, 200, 0), (40, 90, 200)).astype(np.uint8)).convert(
        mode
    )


@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "P", "YCbCr", "HSV", "L", "LA", "1"])
@pytest.mark.parametrize("task", ["image-to-image", "inpainting"])
def test_a_picture_of_any_mode_draws_as_its_rgb_does(
    pipes: dict[str, Any], task: str, mode: str
) -> None:
    inputs: dict[str, Any] = {"strength": 0.5, "num_inference_steps": 4}
    if task == "inpainting":
        inputs["mask_image"] = as_saved("L").point(lambda shade: 255 * (shade > 150))
    picture = as_saved(mode)
    (drawn,) = draw(pipes[task], "a cat", image=picture, **inputs)
    (expected,) = draw(pipes[task], "a cat", image=picture.convert("RGB"), **inputs)
    assert drawn.size == (64, 64)
    assert psnr(drawn, expected) == INF


def test_sixteen_bits_draw_as_eight(pipes: dict[str, Any]) -> None:
    grey = np.asarray(as_saved("L"))
    fine = Image.fromarray(grey.astype(np.uint16) * 257)
    settings = {"strength": 0.5, "num_inference_steps": 4}
    (drawn,) = draw(pipes["image-to-image"], "a cat", image=fine, **settings)
    (expected,) = draw(pipes["image-to-image"], "a cat", image=as_saved("L"), **settings)
    assert psnr(drawn, expected) == INF


def test_depth_and_upscaling_take_pictures_of_any_mode() -> None:
    for task, side in (("depth-to-image", 64), ("super-resolution", 16)):
        pipe = load(task, profile("small")).to("cpu")
        small = as_saved("RGB").resize((side, side))
        few = {"num_inference_steps": 2}
        (expected,) = draw(pipe, "a cat", image=small, **few)
        (drawn,) = draw(pipe, "a cat", image=small.convert("RGBA"), **few)
        assert psnr(drawn, expected) == INF


def turned(picture: Image.Image) -> Image.Image:
    """As a camera that was held sideways saves it."""
    picture = picture.transpose(Image.Transpose.ROTATE_90)
    picture.getexif()[0x0112] = 6
    return picture


def test_a_turned_photograph_and_its_mask_are_drawn_upright(pipes: dict[str, Any]) -> None:
    wide = as_saved("RGB").resize((128, 64))
    mask = as_saved("L").resize((128, 64)).point(lambda shade: 255 * (shade > 150))
    few = {"num_inference_steps": 2, "strength": 1.0, "width": 128, "height": 64}
    pipe = pipes["inpainting"]
    (expected,) = draw(pipe, "a cat", image=wide, mask_image=mask, **few)
    (drawn,) = draw(pipe, "a cat", image=turned(wide), mask_image=turned(mask), **few)
    assert drawn.size == (128, 64)
    assert psnr(drawn, expected) == INF
    with pytest.raises(ValueError, match="mask is 64x128 and the picture 128x64"):
        draw(pipe, "a cat", image=turned(wide), mask_image=mask.resize((64, 128)))


MASKS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "RGB": lambda mask: mask.convert("RGB"),
    "1": lambda mask: mask.convert("1"),
    "P": lambda mask: mask.convert("P"),
    "RGBA": lambda mask: mask.convert("RGBA"),
    "transparency alone": lambda mask: Image.merge(
        "RGBA", [Image.new("L", mask.size)] * 3 + [mask]
    ),
    "16 bits": lambda mask: Image.fromarray(np.asarray(mask).astype(np.uint16) * 257),
    "0 and 1": lambda mask: mask.point(lambda shade: shade // 255),
}


@pytest.mark.parametrize("saved", MASKS)
def test_a_mask_as_programs_save_it_is_the_same_mask(pipes: dict[str, Any], saved: str) -> None:
    mask = as_saved("L").point(lambda shade: 255 * (shade > 150))
    few = {"image": as_saved("RGB"), "num_inference_steps": 2, "strength": 1.0}
    (expected,) = draw(pipes["inpainting"], "a cat", mask_image=mask, **few)
    (drawn,) = draw(pipes["inpainting"], "a cat", mask_image=MASKS[saved](mask), **few)
    assert psnr(drawn, expected) == INF


@pytest.mark.parametrize("name", ["image", "mask_image"])
def test_what_is_no_picture_is_refused(
    pipes: dict[str, Any], name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "cut.png"
    Image.effect_noise((64, 64), 50).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:3000])
    wrong = [np.zeros((64, 64, 3)), torch.zeros(3, 64, 64), [GREY], path, Image.new("RGB", (0, 64))]
    for picture in (*wrong, Image.open(path)):
        with pytest.raises(
            ValueError, match=rf"^{name} (is a PIL picture|has 0x64|cannot be read)"
        ):
            draw(pipes["inpainting"], "a cat", **{"image": GREY, "mask_image": GREY, name: picture})


# Numbers that become none


def test_pure_noise_and_epsilon_are_refused_with_the_cause(own: Any) -> None:
    zero = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    own.scheduler = diffusers.DDIMScheduler.from_config(own.scheduler.config, **zero)
    with pytest.raises(ValueError, match=r"zero terminal SNR.* epsilon.*rescale_betas_zero_snr=F"):
        draw(own, "a cat", num_inference_steps=2)
    own.scheduler = diffusers.DDIMScheduler.from_config(
        own.scheduler.config, timestep_spacing="leading", clip_sample=False
    )
    draw(own, "a cat", num_inference_steps=2)  # begins below pure noise


@pytest.mark.parametrize(
    ("dtype", "says"),
    [
        (torch.float32, "in float32, so half precision is not the cause"),
        (torch.bfloat16, "in half precision the UNet can overflow, so load .* in float32"),
    ],
)
def test_nan_is_no_black_picture_and_has_the_right_cause(
    own: Any, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, says: str
) -> None:
    own.to(dtype)
    honest = own.unet.forward
    monkeypatch.setattr(
        own.unet, "forward", lambda *args, **kwargs: (honest(*args, **kwargs)[0] * NAN,)
    )
    with pytest.raises(ValueError, match=f"^The picture holds NaN: .*{says}"):
        draw(own, "a cat", num_inference_steps=2)
    assert not own.vae.decoder._forward_hooks


def test_nan_of_a_unet_that_alone_is_in_half_precision_has_the_right_cause(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.nn.Module.to(own.unet, torch.bfloat16)
    monkeypatch.setattr(own.unet, "forward", lambda sample, *args, **kwargs: (sample * NAN,))
    with pytest.raises(ValueError, match="in half precision the UNet can overflow"):
        draw(own, "a cat", num_inference_steps=2)


# Sweeps


def test_a_sweep_is_looked_through_before_it_draws(pipe: Any) -> None:
    calls: list[int] = []
    hook = pipe.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    own = pipe.scheduler
    for over in (
        {"num_inference_steps": [1, 0]},
        {"scheduler": ["DDIM", "none"]},
        {"guidance_scal": [1]},
        {"seeds": [1]},
        {"prompt": ["a"]},
        {"guidance_scale": 5},
        {"guidance_scale": iter([])},
    ):
        with pytest.raises(
            ValueError, match=r"at least 1|no scheduler|no argument|cannot be|needs a"
        ):
            sweep(pipe, "a cat", over)  # type: ignore[arg-type]
    hook.remove()
    assert calls == []
    assert pipe.scheduler is own


def test_what_is_no_sweep_is_said_in_a_short_printable_sentence(pipe: Any) -> None:
    for over, says in (
        (None, "A sweep goes over a dict of names and lists, .* but None was given"),
        ([1], r"but \[1\] was given"),
        ({"x\x1b[2J": []}, r"The sweep over x\\x1b\[2J needs a list of values, but has \[\]"),
        ({"guidance_scale": "9" * 999}, "needs a list of values, but has '9+…"),
        ({"scheduler": [pipe.scheduler]}, "There is no scheduler UniPCMultistepScheduler"),
        ({"scheduler": [torch.zeros(2)]}, "There is no scheduler tensor"),
        ({"scheduler": [""]}, "There is no scheduler ''; choose"),
    ):
        with pytest.raises(ValueError, match=says) as caught:
            sweep(pipe, "a cat", over)  # type: ignore[arg-type]
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400


def test_a_scheduler_by_another_name_than_a_text_is_refused(pipe: Any) -> None:
    with pytest.raises(ValueError, match="no scheduler"):
        make_scheduler(["DDIM"], pipe.scheduler)  # type: ignore[arg-type]


def test_a_prompt_that_fits_does_not_warn(pipe: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        draw(pipe, "a cat", num_inference_steps=1)


def test_what_is_no_pipeline_profile_or_scheduler_is_said(pipe: Any) -> None:
    with pytest.raises(ValueError, match="NoneType is no pipeline of"):
        sweep(None, "a cat", {"eta": [0.0]})
    with pytest.raises(ValueError, match="'small' is no profile"):
        load("text-to-image", "small")
    with pytest.raises(ValueError, match="None is no scheduler"):
        make_scheduler("DDIM", None)
    with pytest.raises(ValueError, match="machine is what this_machine gives"):
        optimise(pipe, "cuda")
    with pytest.raises(ValueError, match=r"needs a list of values, but has tensor\(3\)"):
        sweep(pipe, "a cat", {"guidance_scale": torch.tensor(3)})
