"""companion.autopipeline.exported: a UNet in another program, in an ordinary pipeline."""

import importlib.util
from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from companion import profile
from companion.attention import attribute, trace
from companion.autopipeline import draw, load, load_settings, optimise, save_with_settings, sweep
from companion.autopipeline.deciding import Machine
from companion.autopipeline.exported import RUNTIMES, ExportedUNet, Runtime
from companion.metrics import psnr
from companion.scenes import scene

# In a process of their own: the tests of training fork, and these libraries have threads.
pytestmark = pytest.mark.compiles

FROG = scene(7, subset="stable-diffusion")  # "a frog on a brown background"
SETTINGS: dict[str, Any] = {"num_inference_steps": 4, "guidance_scale": 4.0}


def needs(extra: str) -> pytest.MarkDecorator:
    missing = not RUNTIMES[extra].installed()
    return pytest.mark.skipif(missing, reason=f"needs {extra}, an extra of the package")


EACH = [pytest.param(extra, marks=needs(extra)) for extra in RUNTIMES]


@pytest.fixture(scope="module")
def made(pipes: dict[str, Any], copied: Callable[[Any], Any]) -> Callable[[str], Any]:
    """A pipeline for each extra, in float32, made once."""
    kept: dict[str, Any] = {}

    def make(extra: str) -> Any:
        if extra not in kept:
            kept[extra] = copied(pipes["text-to-image"])
            report = optimise(kept[extra], Machine("cpu"), extras=[extra])
            assert report.done(RUNTIMES[extra].title), str(report)
        return kept[extra]

    return make


def nearness(first: Any, second: Any) -> float:
    return min(psnr(*pair) for pair in zip(first, second, strict=True))


@pytest.mark.parametrize("extra", EACH)
def test_in_float32_it_draws_the_same_pictures(
    pipe: Any, made: Callable[[str], Any], extra: str
) -> None:
    settings = {**SETTINGS, "seeds": [1, 2], "num_inference_steps": 8}
    prompt = "a frog on a red background"
    assert nearness(draw(pipe, prompt, **settings), draw(made(extra), prompt, **settings)) > 80


@needs("openvino")
def test_in_bfloat16_it_draws_them_to_45_db(own: Any, pipe: Any) -> None:
    report = optimise(own, Machine("cpu", fast_bfloat16=True))
    assert report.done("OpenVINO")
    settings = {**SETTINGS, "seeds": [1, 2], "num_inference_steps": 15}
    plain = draw(pipe, "a frog on a red background", **settings)
    quick = draw(own, "a frog on a red background", **settings)
    assert nearness(plain, quick) > 45


@pytest.mark.parametrize("extra", EACH)
def test_other_numbers_sizes_and_guidance_draw_the_same(
    pipe: Any, made: Callable[[str], Any], extra: str
) -> None:
    for change in (
        {"seeds": range(3)},
        {"seeds": 1, "guidance_scale": 1.0},
        {"seeds": 1, "height": 96, "width": 32},
        {"seeds": [1, 2], "guided": 0.5},
        {"seeds": 1, "negative_prompt": "a cat"},
    ):
        settings = {**SETTINGS, **change}
        plain, quick = (draw(one, "a dog", **settings) for one in (pipe, made(extra)))
        assert nearness(plain, quick) > 60  # some pictures magnify what float32 rounds


@pytest.mark.parametrize("extra", EACH)
def test_callbacks_image_to_image_and_inpainting_go_on_working(
    pipes: dict[str, Any], made: Callable[[str], Any], extra: str
) -> None:
    seen: list[int] = []
    draw(
        made(extra),
        "a dog",
        callback_on_step_end=lambda _, step, *__: seen.append(step),
        **SETTINGS,
    )
    assert seen == [0, 1, 2, 3]
    mask = Image.fromarray(np.uint8(255 * FROG.masks[0]))
    for task, auto, given in (
        ("image-to-image", diffusers.AutoPipelineForImage2Image, {"strength": 0.5}),
        ("inpainting", diffusers.AutoPipelineForInpainting, {"mask_image": mask}),
    ):
        other = auto.from_pipe(made(extra))
        other.set_progress_bar_config(disable=True)
        assert isinstance(other.unet, ExportedUNet)
        settings = {**SETTINGS, "image": FROG.image, **given}
        plain, quick = (draw(one, "a dog", **settings) for one in (pipes[task], other))
        assert nearness(plain, quick) > 80


@pytest.mark.parametrize("extra", EACH)
def test_it_sweeps_and_keeps_settings(
    made: Callable[[str], Any], extra: str, tmp_path: Any
) -> None:
    drawn = sweep(made(extra), "a dog", {"guidance_scale": [1, 4]}, num_inference_steps=2)
    assert [one.unet_calls for one in drawn] == [2, 2]
    path = tmp_path / "dog.png"
    save_with_settings(path, drawn[1].picture, made(extra), "a dog", seed=0, **SETTINGS)
    assert load_settings(path).precision == "float32"


@pytest.mark.parametrize("extra", EACH)
def test_the_upscalers_unet_is_taken_too(extra: str) -> None:
    upscaler, stock = (load("super-resolution", profile("small")).to("cpu") for _ in range(2))
    assert optimise(upscaler, Machine("cpu"), extras=[extra]).done(RUNTIMES[extra].title)
    settings = {"image": FROG.image.resize((32, 32)), **SETTINGS}
    pictures = [draw(one, "a frog", **settings) for one in (upscaler, stock)]
    assert nearness(*pictures) > 80


@pytest.mark.parametrize("extra", EACH)
def test_an_ordinary_folder_holds_it(
    pipe: Any,
    made: Callable[[str], Any],
    extra: str,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made(extra).unet.save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.onnx"}
    monkeypatch.setattr("companion.autopipeline.exported.RUNTIMES", {extra: RUNTIMES[extra]})
    again = diffusers.StableDiffusionPipeline(
        **{**made(extra).components, "unet": ExportedUNet.from_pretrained(tmp_path)},
        requires_safety_checker=False,
    )
    again.set_progress_bar_config(disable=True)
    assert nearness(draw(pipe, "a dog", **SETTINGS), draw(again, "a dog", **SETTINGS)) > 80


def test_a_folder_without_it_is_told(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=r"is no model\.onnx"):
        ExportedUNet.from_pretrained(tmp_path)


class Echo(Runtime):
    """Answers what it is given."""

    title = "Echo"
    module = "json"
    knows_bfloat16 = False

    def run(self, given: Any) -> Any:
        return given["sample"]


@pytest.fixture
def echo(pipe: Any, tmp_path: Any) -> ExportedUNet:
    """Needs no extra."""
    return ExportedUNet(Echo(tmp_path, False), dict(pipe.unet.config))


NOISE, TEXT = torch.zeros(2, 4, 16, 16), torch.zeros(2, 77, 96)


def test_it_is_called_as_a_unet(echo: ExportedUNet) -> None:
    assert echo(NOISE, 5, encoder_hidden_states=TEXT).sample.shape == NOISE.shape
    assert echo(NOISE, torch.tensor([5, 5]), TEXT, return_dict=False)[0].shape == NOISE.shape
    assert (echo.dtype, echo.device.type) == (torch.float32, "cpu")
    assert echo(NOISE.half(), 5, TEXT.half()).sample.dtype == torch.float16


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mid_block_additional_residual": NOISE}, "takes no mid_block_additional_residual"),
        ({"cross_attention_kwargs": {"scale": 0.5}}, "takes no cross_attention_kwargs"),
        ({"sample": NOISE[..., :14]}, "sides are multiples of 4, not 16x14"),
        ({"timestep": torch.tensor([1, 2])}, "one timestep for all pictures"),
    ],
)
def test_what_it_does_not_take_is_told(echo: ExportedUNet, given: Any, said: str) -> None:
    call = {"sample": NOISE, "timestep": 5, "encoder_hidden_states": TEXT, **given}
    with pytest.raises(ValueError, match=said) as told:
        echo(**call)
    assert "Echo computes" in str(told.value)
    assert "extras=()" in str(told.value)


@pytest.mark.parametrize("name", ["attn_processors", "load_lora_adapter", "fuse_qkv_projections"])
def test_who_looks_into_it_is_told(echo: ExportedUNet, name: str) -> None:
    with pytest.raises(AttributeError, match=f"which Echo computes, has no {name}: load"):
        getattr(echo, name)


def test_attention_maps_are_refused_in_a_sentence(own: Any, echo: ExportedUNet) -> None:
    own.unet = echo
    with pytest.raises(ValueError, match="ExportedUNet cannot be traced"), trace(own):
        pass
    with pytest.raises(ValueError, match="ExportedUNet cannot be traced"):
        attribute(own, FROG.image, FROG.caption)


def test_a_program_that_is_not_there_is_named_with_the_remedy(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    report = str(optimise(own, Machine("cpu")))
    assert "pip install 'diffusers-notes[openvino]'" in report
    assert "pip install 'diffusers-notes[onnxruntime]'" in report


@pytest.mark.parametrize("fault", [RuntimeError("no"), None])
def test_a_program_that_fails_or_errs_is_left(
    own: Any, monkeypatch: pytest.MonkeyPatch, fault: Exception | None
) -> None:
    class Wrong(Echo):
        @classmethod
        def installed(cls) -> bool:
            return True

    def write(*_: Any) -> None:
        if fault:
            raise fault

    monkeypatch.setattr("companion.autopipeline.exported._write", write)
    monkeypatch.setattr("companion.autopipeline.on_cpu.RUNTIMES", {"openvino": Wrong})
    unet = own.unet
    report = optimise(own, Machine("cpu"))
    assert not report.done("Echo")
    assert own.unet is unet
    reason = report.decisions[0].reason
    assert reason == "cannot take this UNet (RuntimeError)" if fault else "is off by" in reason


@pytest.mark.parametrize("extras", [["tensorrt"], "openvino", 3])
def test_an_unknown_extra_is_told(own: Any, extras: Any) -> None:
    with pytest.raises(ValueError, match='"openvino" and "onnxruntime"'):
        optimise(own, Machine("cpu"), extras=extras)


@needs("openvino")
@needs("onnxruntime")
def test_one_is_chosen_and_twice_is_no_more(own: Any) -> None:
    report = optimise(own, Machine("cpu"))
    assert report.done("OpenVINO")
    assert not report.done("ONNX Runtime")
    assert not report.done("half precision")
    unet = own.unet
    assert "already" in optimise(own, Machine("cpu")).decisions[0].reason
    assert own.unet is unet
