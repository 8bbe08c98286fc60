"""companion.autopipeline: three tasks on one model, checked, fast, kept with their settings."""

import copy
import gc
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers
from PIL import Image, ImageFilter
from PIL.PngImagePlugin import PngInfo

transformers.logging.set_verbosity_error()  # the pipelines' import speaks of torchvision

from companion import profile  # noqa: E402
from companion.autopipeline import (  # noqa: E402
    draw,
    load,
    load_settings,
    make_scheduler,
    optimise,
    psnr,
    save_with_settings,
    scheduler_names,
    sweep,
)
from companion.autopipeline.optimising import Machine  # noqa: E402
from companion.scenes import scene  # noqa: E402
from companion.zoo import recognise  # noqa: E402

AUTO = {
    "text-to-image": diffusers.AutoPipelineForText2Image,
    "image-to-image": diffusers.AutoPipelineForImage2Image,
    "inpainting": diffusers.AutoPipelineForInpainting,
}
GIB = 2**30
FROG = scene(7, subset="stable-diffusion")  # "a frog on a brown background"
GHOST = scene(1, subset="stable-diffusion")  # "a picture of a ghost on a gray background"


@pytest.fixture(scope="module")
def pipes() -> dict[str, Any]:
    """A pipeline for each task, with the weights of one, and UniPC, which needs few steps."""
    first = load("text-to-image", profile("small"))
    first.to("cpu")
    first.scheduler = make_scheduler("UniPC", first.scheduler)
    made = {task: auto.from_pipe(first) for task, auto in AUTO.items()}
    for pipe in made.values():
        pipe.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def pipe(pipes: dict[str, Any]) -> Any:
    return pipes["text-to-image"]


def own_copy(pipe: Any) -> Any:
    """A pipeline that may be changed: with networks and scheduler of its own."""
    parts = {name: copy.deepcopy(part) for name, part in pipe.components.items()}
    made = type(pipe)(**parts, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    made.register_to_config(_name_or_path=pipe.config._name_or_path)
    return made


def mask_of(array: np.ndarray, grow: int = 0) -> Image.Image:
    return Image.fromarray(array.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(2 * grow + 1))


def close(left: Image.Image, right: Image.Image, shades: int = 1) -> bool:
    difference = np.asarray(left, int) - np.asarray(right, int)
    return bool(np.abs(difference).max() <= shades)


# Loading


@pytest.mark.parametrize("task", AUTO)
def test_load_gives_the_class_that_autopipeline_finds(task: str, pipes: dict[str, Any]) -> None:
    loaded = load(task, profile("small"))
    assert type(loaded) is type(pipes[task])
    assert loaded.unet.dtype == torch.float32


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no task 'video'; choose one of: text-to-image, "):
        load("video")


def test_a_class_that_transformers_renamed_is_found(tmp_path: Path) -> None:
    small = profile("small")
    folder = tmp_path / "depth"
    shutil.copytree(small.models["depth"].folder(), folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["feature_extractor"] = ["transformers", "DPTFeatureExtractor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    settings = folder / "feature_extractor" / "preprocessor_config.json"
    old = json.loads(settings.read_text())
    old["feature_extractor_type"] = old.pop("image_processor_type").replace(
        "ImageProcessor", "FeatureExtractor"
    )
    settings.write_text(json.dumps(old))

    older = replace(
        small, models={**small.models, "depth": SimpleNamespace(folder=lambda: str(folder))}
    )
    loaded = load("depth-to-image", older).feature_extractor
    expected = load("depth-to-image", small).feature_extractor
    seen = [one(FROG.image, return_tensors="pt").pixel_values for one in (loaded, expected)]
    torch.testing.assert_close(*seen)


def test_pipelines_made_of_one_share_its_weights(pipes: dict[str, Any]) -> None:
    first = next(pipes["text-to-image"].unet.parameters()).data_ptr()
    assert {next(one.unet.parameters()).data_ptr() for one in pipes.values()} == {first}


# What is drawn


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
    one = scene(20_008, subset="stable-diffusion")
    coarse = one.image.resize((16, 16), Image.Resampling.BICUBIC)
    (drawn,) = draw(
        upscaler,
        one.caption,
        image=coarse,
        num_inference_steps=20,
        guidance_scale=1.5,
        noise_level=5,
    )
    assert drawn.size == (64, 64)
    bicubic = coarse.resize((64, 64), Image.Resampling.BICUBIC)
    assert psnr(drawn, one.image) > psnr(bicubic, one.image)
    seen = recognise(drawn)[0].objects
    assert set(seen) == {thing.name for thing in one.objects}


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


def test_the_upscalers_unet_is_optimised_too() -> None:
    upscaler = load("super-resolution", profile("small")).to("cpu")
    assert optimise(upscaler, Machine("cpu", fast_bfloat16=True)).done("half precision")


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


# Bad input, each in one sentence


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
    with pytest.warns(UserWarning, match="takes 77 tokens.*not read: 'a lantern'.*fewer words"):
        draw(pipe, "cat " * 75 + "a lantern", num_inference_steps=1)


def test_a_full_memory_is_one_sentence_with_the_remedy(
    pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(pipe.unet, "forward", full)
    with pytest.raises(MemoryError, match="memory of the device is full: try fewer than 2 ") as one:
        draw(pipe, "a cat", seeds=[1, 2], num_inference_steps=1)
    assert "optimise(pipe)" in str(one.value)


def test_other_errors_stay_what_they_are(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(pipe.unet, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        draw(pipe, "a cat", num_inference_steps=1)


# Sweeps and schedulers


def test_a_sweep_draws_every_combination(pipe: Any) -> None:
    own = pipe.scheduler
    over = {"scheduler": ["PNDM", "UniPC"], "num_inference_steps": [2, 3]}
    drawn = sweep(pipe, "a cat", over, seeds=[1, 2], guidance_scale=4.0)
    assert [one.settings["scheduler"] for one in drawn] == ["PNDM"] * 4 + ["UniPC"] * 4
    assert [one.seed for one in drawn] == [1, 2] * 4
    assert [one.unet_calls for one in drawn[::2]] == [3, 4, 2, 3]  # PNDM calls once more
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


# Making it fast


@pytest.fixture(scope="module")
def fast(pipes: dict[str, Any]) -> tuple[Any, Any]:
    """A pipeline in bfloat16 as on a CPU that has it, and the report."""
    made = own_copy(pipes["text-to-image"])
    return made, optimise(made, Machine("cpu", fast_bfloat16=True))


def test_on_a_cpu_with_bfloat16_the_unet_computes_in_it(fast: tuple[Any, Any]) -> None:
    made, report = fast
    assert made.unet.dtype == torch.bfloat16
    assert (made.vae.dtype, made.text_encoder.dtype) == (torch.float32, torch.float32)
    assert report.done("half precision")
    assert not report.done("channels_last")
    assert not report.done("compile")
    assert str(report).count("\n") == len(report.decisions) - 1


def test_the_optimised_pipeline_draws_the_same_pictures(pipe: Any, fast: tuple[Any, Any]) -> None:
    settings = {"seeds": [1, 2], "num_inference_steps": 15, "guidance_scale": 4.0}
    plain = draw(pipe, "a frog on a red background", **settings)
    quick = draw(fast[0], "a frog on a red background", **settings)
    assert min(psnr(*pair) for pair in zip(plain, quick, strict=True)) > 30
    assert not close(plain[0], quick[0], shades=0)  # it did compute otherwise


def test_pipelines_that_share_the_networks_are_optimised_with_it(fast: tuple[Any, Any]) -> None:
    other = diffusers.AutoPipelineForImage2Image.from_pipe(fast[0])
    other.set_progress_bar_config(disable=True)
    (drawn,) = draw(
        other, "a panda", image=FROG.image, strength=0.2, num_inference_steps=10, guidance_scale=4.0
    )
    assert recognise(drawn)[0].objects == ("frog",)


def test_on_another_cpu_float32_stays(pipe: Any) -> None:
    report = optimise(pipe, Machine("cpu", fast_bfloat16=False))
    assert pipe.unet.dtype == torch.float32
    assert not any(one.done for one in report.decisions if one.name != "fused attention")


def test_twice_is_no_more_than_once(fast: tuple[Any, Any]) -> None:
    made, _ = fast
    again = optimise(made, Machine("cpu", fast_bfloat16=True))
    assert "already" in again.decisions[0].reason


def test_what_changes_the_answer_too_far_is_undone(
    pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = own_copy(pipe)
    honest = type(made.unet).forward

    def wrong_in_half(self: Any, *args: Any, **kwargs: Any) -> Any:
        (answer,) = honest(self, *args, **kwargs)
        return (answer if self.dtype == torch.float32 else answer * 1.1,)

    monkeypatch.setattr(type(made.unet), "forward", wrong_in_half)
    report = optimise(made, Machine("cpu", fast_bfloat16=True))
    assert not report.done("half precision")
    assert "moved by 10" in report.decisions[0].reason
    assert made.unet.dtype == torch.float32


class StandIn:
    """Compiles and offloads nothing, and remembers that it was asked to: there is no GPU here."""

    def __init__(self, pipe: Any, monkeypatch: pytest.MonkeyPatch, factor: float = 1.0) -> None:
        self.asked: list[str] = []
        monkeypatch.setattr(
            pipe, "enable_model_cpu_offload", lambda: self.asked.append("offload"), raising=False
        )

        def compile_blocks(**options: bool) -> None:
            assert options == {"fullgraph": True}
            self.asked.append("compile")
            for block in pipe.unet.modules():
                if type(block).__name__ == "BasicTransformerBlock":
                    block._compiled_call_impl = lambda *args, block=block, **kwargs: (
                        factor * type(block).forward(block, *args, **kwargs)
                    )

        monkeypatch.setattr(pipe.unet, "compile_repeated_blocks", compile_blocks, raising=False)


def test_on_a_gpu_with_room_all_but_memory_savers_are_used(
    pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = own_copy(pipe)
    stand_in = StandIn(made, monkeypatch)
    report = optimise(made, Machine("cuda", free_memory=20 * GIB))
    assert {one.name: one.done for one in report.decisions} == {
        "half precision": True,
        "channels_last": True,
        "fused attention": True,
        "VAE slices": False,
        "VAE tiles": False,
        "CPU offload": False,
        "compile": True,
    }
    assert {made.unet.dtype, made.vae.dtype, made.text_encoder.dtype} == {torch.float16}
    assert made.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert stand_in.asked == ["compile"]


def test_a_compiled_unet_with_another_answer_is_not_kept(
    pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = own_copy(pipe)
    StandIn(made, monkeypatch, factor=0.5)
    report = optimise(made, Machine("cuda", free_memory=20 * GIB))
    assert not report.done("compile")
    assert "off by" in report.decisions[-1].reason
    assert not any(block._compiled_call_impl for block in made.unet.modules())


def test_where_compiling_fails_the_pipeline_stays_as_it_was(
    pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = own_copy(pipe)

    def no_compiler(**_: bool) -> None:
        raise FileNotFoundError("triton")

    monkeypatch.setattr(made.unet, "compile_repeated_blocks", no_compiler, raising=False)
    report = optimise(made, Machine("cuda", free_memory=20 * GIB))
    assert "compiling failed here (FileNotFoundError)" in report.decisions[-1].reason


def test_where_memory_is_short_parts_wait_outside(
    pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = own_copy(pipe)
    stand_in = StandIn(made, monkeypatch)
    report = optimise(made, Machine("cuda", free_memory=GIB))
    assert all(report.done(name) for name in ("VAE slices", "VAE tiles", "CPU offload"))
    assert stand_in.asked == ["offload"]
    assert made.vae.use_slicing
    assert made.vae.use_tiling


@pytest.mark.slow
@pytest.mark.compiles
def test_a_unet_really_compiled_on_the_cpu_draws_the_same_picture(pipe: Any) -> None:
    made = own_copy(pipe)
    settings = {"seeds": 3, "num_inference_steps": 3, "guidance_scale": 4.0}
    report = optimise(made, Machine("cpu"), compile_on_cpu=True)
    assert report.done("compile")
    assert made.unet._compiled_call_impl is not None
    assert close(draw(made, "a cat", **settings)[0], draw(pipe, "a cat", **settings)[0], shades=2)
    del made
    torch.compiler.reset()
    gc.collect()


def test_on_a_cpu_a_compiled_unet_with_another_answer_is_not_kept(
    pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = own_copy(pipe)

    def compile_wrongly(**_: bool) -> None:
        made.unet._compiled_call_impl = lambda *args, **kwargs: (
            0.5 * type(made.unet).forward(made.unet, *args, **kwargs)[0],
        )

    monkeypatch.setattr(made.unet, "compile", compile_wrongly)
    report = optimise(made, Machine("cpu"), compile_on_cpu=True)
    assert not report.done("compile")
    assert made.unet._compiled_call_impl is None


# Keeping


CALL = {"num_inference_steps": 4, "guidance_scale": 4.0, "negative_prompt": "红 background"}


def test_a_kept_picture_is_drawn_again(pipes: dict[str, Any], tmp_path: Path) -> None:
    calls: dict[str, dict[str, Any]] = {
        "text-to-image": {},
        "image-to-image": {"image": FROG.image, "strength": 0.6},
        "inpainting": {"image": FROG.image, "mask_image": mask_of(FROG.masks[0])},
    }
    for task, inputs in calls.items():
        path, pipe, arguments = tmp_path / f"{task}.png", pipes[task], {**CALL, **inputs}
        (picture,) = draw(pipe, "a cat", seeds=37, **arguments)
        written = save_with_settings(path, picture, pipe, "a cat", seed=37, **arguments)
        read = load_settings(path)
        assert (read.task, read.model, read.seed) == (task, "stable-diffusion", 37)
        assert read.scheduler == json.loads(json.dumps(written.scheduler))
        with Image.open(path) as kept:
            assert close(kept, picture, shades=0)
        assert close(read.redraw(pipe), picture, shades=0)


def test_the_scheduler_is_kept_too(pipe: Any, tmp_path: Path) -> None:
    own = pipe.scheduler
    pipe.scheduler = make_scheduler("DPM++ 2M Karras", own)
    try:
        (picture,) = draw(pipe, "a cat", seeds=1, num_inference_steps=4)
        save_with_settings(
            tmp_path / "cat.png", picture, pipe, "a cat", seed=1, num_inference_steps=4
        )
    finally:
        pipe.scheduler = own
    settings = load_settings(tmp_path / "cat.png")
    assert settings.scheduler["use_karras_sigmas"] is True
    assert close(settings.redraw(pipe), picture, shades=0)
    assert pipe.scheduler is own


def test_no_path_of_this_machine_is_written(pipe: Any, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    save_with_settings(path, GREY, pipe, "a cat", seed=1)
    assert str(Path(profile("small").autopipeline).parent).encode() not in path.read_bytes()


def test_a_model_of_the_hub_is_named_by_id_and_commit(pipe: Any, tmp_path: Path) -> None:
    made = own_copy(pipe)
    cached = "/x/hub/models--dreamlike-art--dreamlike-photoreal-2.0/snapshots/d9e27ac81c"
    made.register_to_config(_name_or_path=cached)
    settings = save_with_settings(tmp_path / "cat.png", GREY, made, "a cat", seed=1)
    assert settings.model == "dreamlike-art/dreamlike-photoreal-2.0@d9e27ac81c"


def test_a_picture_that_cannot_be_written_leaves_the_old_one(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cat.png"
    save_with_settings(path, GREY, pipe, "a cat", seed=1)
    before = path.read_bytes()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_with_settings(path, GREY, pipe, "another", seed=2)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["cat.png"]


def test_what_cannot_be_kept_is_refused(pipe: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Settings go into a PNG file, but cat\.jpg is none"):
        save_with_settings(tmp_path / "cat.jpg", GREY, pipe, "a cat", seed=1)
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*none: make it first"):
        save_with_settings(tmp_path / "none/cat.png", GREY, pipe, "a cat", seed=1)
    with pytest.raises(ValueError, match="The settings hold something that no file can"):
        save_with_settings(tmp_path / "cat.png", GREY, pipe, "a cat", seed=1, latents=object())
    assert not list(tmp_path.iterdir())


def write(make: Callable[[Path], None]) -> Callable[[Path], Path]:
    def in_folder(folder: Path) -> Path:
        path = folder / "cat.png"
        make(path)
        return path

    return in_folder


def with_text(text: str) -> Callable[[Path], Path]:
    note = PngInfo()
    note.add_itxt("companion.autopipeline", text)
    return write(lambda path: GREY.save(path, pnginfo=note))


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (write(GREY.save), "holds no settings: either save_with_settings did not write it"),
        (write(lambda path: path.write_bytes(b"\x89PNG\r\n")), "no picture that can be read"),
        (with_text("{"), r"settings in cat\.png cannot be read: they are damaged"),
        (with_text('{"format": 99}'), "or a later version wrote them"),
        (with_text('{"format": 1, "arguments": {}}'), "they are damaged"),
    ],
)
def test_a_file_without_readable_settings_is_refused(
    made: Callable[[Path], Path], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        load_settings(made(tmp_path))
    assert str(caught.value).endswith(".")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load_settings(tmp_path / "cat.png")


def test_another_pipeline_cannot_redraw(pipes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    save_with_settings(path, GREY, pipes["text-to-image"], "a cat", seed=1)
    settings = load_settings(path)
    with pytest.raises(ValueError, match="is of the task text-to-image and the model stable-diff"):
        settings.redraw(pipes["image-to-image"])
    with pytest.raises(ValueError, match="and the model other, but"):
        replace(settings, model="other").redraw(pipes["text-to-image"])


# Comparing


def test_psnr_is_ten_times_the_logarithm_of_the_ratio() -> None:
    assert psnr(GREY, GREY) == float("inf")
    black, white = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), "white")
    assert psnr(black, white) == 0
    with pytest.raises(ValueError, match="64x64 and 4x4 cannot be compared"):
        psnr(GREY, black)


def test_a_prompt_that_fits_does_not_warn(pipe: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        draw(pipe, "a cat", num_inference_steps=1)
