"""Settings as other programs, other versions and strangers write them: values or a sentence."""

import base64
import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from companion.autopipeline import Settings, draw, load_settings, save_with_settings
from needs import few_rights

KEY = "companion.autopipeline"
GREY = Image.new("RGB", (64, 64), "gray")
HONEST = {
    "format": 1,
    "task": "text-to-image",
    "model": "stable-diffusion",
    "prompt": "a cat",
    "seed": 1,
    "arguments": {"num_inference_steps": 2},
    "scheduler": {"_class_name": "DDIMScheduler", "num_train_timesteps": 1000},
    "precision": "float32",
    "versions": {},
}


def with_text(path: Path, text: str) -> Path:
    note = PngInfo()
    note.add_itxt(KEY, text)
    GREY.save(path, pnginfo=note)
    return path


def with_settings(path: Path, **changed: Any) -> Path:
    return with_text(path, json.dumps({**HONEST, **changed}))


def in_base64(picture: Image.Image, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *texts: bytes) -> bytes:
    """A PNG file that says that it is so large, and holds 100 bytes of pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *texts, chunk(b"IDAT", zlib.compress(bytes(100)))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def refused(path: Path, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        load_settings(path)
    assert str(caught.value).endswith(".")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


# What the text says


def test_honest_settings_are_read(tmp_path: Path) -> None:
    read = load_settings(with_settings(tmp_path / "cat.png"))
    assert read == Settings(**{key: value for key, value in HONEST.items() if key != "format"})


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "5", "null", "true", "[]", '"a"', "NaN", "[" * 100_000, '{"a":' * 100_000),
        *("9" * 10_000, "{}", '{"format": 99}', '{"format": 1, "arguments": {}}', "\ufeff{}"),
    ],
)
def test_what_are_no_settings_is_said(text: str, tmp_path: Path) -> None:
    says = r"settings in cat\.png cannot be read \(.*\): they are damaged, or a later version wrote"
    refused(with_text(tmp_path / "cat.png", text), says)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("format", [0, 2, "1", None, 1.5]),
        ("task", [5, None, [], "video", "x" * 10**6]),
        ("model", [5, None, {}]),
        ("prompt", [5, None, ["a"], "a" * 100_001]),
        ("seed", ["x", "1", None, -5, 10**30, 2**64, 1.5, True, [1]]),
        ("arguments", [None, [], "a", 5]),
        ("scheduler", [None, [], "DDIMScheduler", {}, {"_class_name": 5}, {"_class_name": ["a"]}]),
        ("precision", [None, [1], 16]),
        ("versions", [None, [], {"torch": 2}]),
        ("of_a_later_version", [1]),
    ],
)
def test_a_field_of_another_kind_is_refused_by_its_name(
    field: str, values: list[Any], tmp_path: Path
) -> None:
    for value in values:
        refused(
            with_settings(tmp_path / "cat.png", **{field: value}), rf"\(.*{field}.*\): they are"
        )


@pytest.mark.parametrize("field", sorted(set(HONEST) - {"versions"}))
def test_a_field_that_is_missing_is_named(field: str, tmp_path: Path) -> None:
    entry = {key: value for key, value in HONEST.items() if key != field}
    refused(with_text(tmp_path / "cat.png", json.dumps(entry)), rf"\({field}: .*\): they are")


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("prompt", ["again"], "no argument 'prompt'"),
        ("pipe", [None, 1], "no argument 'pipe'"),
        ("seeds", [[1, 2]], "no argument 'seeds'"),
        ("generator", [1], "no argument 'generator'"),
        ("callback", ["evil"], "no argument 'callback'"),
        ("callback_on_step_end", ["evil"], "no argument 'callback_on_step_end'"),
        ("latents", [[1]], "no argument 'latents'"),
        ("stength", [0.5], "did you mean 'strength'"),
        ("a\x1b[2J", [1], r"no argument 'a\\x1b\[2J'"),
        ("height", ["64", 64.5, [], {}, True], "height is .* whole number"),
        ("num_inference_steps", ["2", 0, -1, 2.0], "num_inference_steps is "),
        ("guidance_scale", ["4", [], float("nan"), float("inf")], "guidance_scale is "),
        ("strength", [2, -1, "1"], "strength is "),
        ("guided", [2, "1"], "guided is "),
        ("negative_prompt", [5, {}], "negative_prompt is a text"),
        ("timesteps", ["1", 5, [[1]], list(range(2000))], "timesteps is |number of timesteps"),
        ("cross_attention_kwargs", [5, {"scale": "1"}, [1]], "cross_attention_kwargs"),
        ("image", [5, "!", "aGk=", [], {}], "image (is no|has a side)"),
        (
            "mask_image",
            [5, "!", "aGk=", "A" * 10**6],
            "mask_image (is no|has a side)",
        ),
    ],
)
def test_an_argument_that_draw_does_not_take_is_refused(
    name: str, values: list[Any], says: str, tmp_path: Path
) -> None:
    for value in values:
        path = with_settings(tmp_path / "cat.png", arguments={name: value})
        refused(path, rf"\(.*{says}.*\): they are damaged")


def test_pictures_and_numbers_of_older_files_are_read(tmp_path: Path) -> None:
    told = {
        "image": in_base64(GREY.convert("RGBA")),
        "mask_image": in_base64(GREY.convert("1")),
        "cross_attention_kwargs": {"scale": 0.5},
        "sigmas": [2.0, 1, 0.0],
        "negative_prompt": None,
    }
    read = load_settings(with_settings(tmp_path / "a.png", task="inpainting", arguments=told))
    assert (read.arguments["image"].mode, read.arguments["mask_image"].mode) == ("RGB", "L")
    assert read.arguments["cross_attention_kwargs"] == {"scale": 0.5}
    assert "negative_prompt" not in read.arguments


def test_a_picture_among_the_settings_that_says_it_is_huge_is_refused(tmp_path: Path) -> None:
    for side in (4097, 60_000, 2**31 - 1):
        huge = base64.b64encode(png_of(side, side)).decode()
        refused(with_settings(tmp_path / "a.png", arguments={"image": huge}), "image has a side")


# The file


def fifo(path: Path) -> None:
    os.mkfifo(path)


FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no settings": (GREY.save, "holds no settings: either save_with_settings did not write"),
    "a JPEG": (lambda path: GREY.save(path, "JPEG"), "holds no settings"),
    "empty": (lambda path: path.touch(), r"cat\.png is no picture"),
    "a text": (lambda path: path.write_text("hello"), r"cat\.png is no picture"),
    "cut short": (lambda path: path.write_bytes(b"\x89PNG\r\n"), r"cat\.png is no picture"),
    "cut": (
        lambda path: path.write_bytes(with_settings(path).read_bytes()[:300]),
        r"cat\.png cannot be read",
    ),
    "a folder": (lambda path: path.mkdir(), r"cat\.png is no file"),
    "a pipe": (fifo, r"cat\.png is no file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), r"cat\.png is no file"),
    "a circle": (lambda path: path.symlink_to(path), r"cat\.png cannot be read"),
    "huge": (lambda path: path.write_bytes(png_of(60_000, 60_000)), r"cat\.png "),
    "a text that grows": (
        lambda path: path.write_bytes(
            png_of(
                8,
                8,
                chunk(b"iTXt", KEY.encode() + b"\0\1\0\0\0" + zlib.compress(bytes(80_000_000), 9)),
            )
        ),
        r"cat\.png cannot be read",
    ),
    "a later chunk": (
        lambda path: path.write_bytes(png_of(8, 8, chunk(b"iTXt", KEY.encode()))),
        r"cat\.png",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_without_readable_settings_is_refused(kind: str, tmp_path: Path) -> None:
    make, says = FILES[kind]
    make(tmp_path / "cat.png")
    refused(tmp_path / "cat.png", says)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no file .*cat\.png\."):
        load_settings(tmp_path / "cat.png")


@few_rights
def test_a_file_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    with_settings(tmp_path / "cat.png").chmod(0)
    refused(tmp_path / "cat.png", "Permission denied")


# Drawing it again


def test_another_pipeline_cannot_redraw(pipes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    save_with_settings(path, GREY, pipes["text-to-image"], "a cat", seed=1)
    settings = load_settings(path)
    with pytest.raises(ValueError, match="is of the task text-to-image and the model stable-diff"):
        settings.redraw(pipes["image-to-image"])
    with pytest.raises(ValueError, match="and the model other, but"):
        replace(settings, model="other").redraw(pipes["text-to-image"])
    with pytest.raises(ValueError, match="NoneType is no pipeline of"):
        settings.redraw(None)


@pytest.mark.parametrize(
    "name",
    [
        *("utils", "logging", "StableDiffusionPipeline", "DiffusionPipeline", "SchedulerMixin"),
        *("", "\0", "os", "AutoencoderKL", "KarrasDiffusionSchedulers", "__class__", "schedulers"),
        *("FlaxDDIMScheduler", "FlowMatchEulerDiscreteScheduler", "VQDiffusionScheduler"),
    ],
)
def test_what_is_no_scheduler_of_this_pipeline_draws_nothing(
    pipe: Any, tmp_path: Path, name: str
) -> None:
    cannot_be_drawn(pipe, tmp_path, {"_class_name": name})


@pytest.mark.parametrize(
    "name",
    ["DDPMWuerstchenScheduler", "UnCLIPScheduler", "KarrasVeScheduler", "AmusedScheduler"],
)
def test_a_scheduler_of_other_pipelines_is_said_to_be_one(
    pipe: Any, own: Any, tmp_path: Path, name: str
) -> None:
    says = f"A {name} steps in another way than Stable Diffusion's pipelines do"
    seen = load_settings(with_settings(tmp_path / "cat.png", scheduler={"_class_name": name}))
    with pytest.raises(ValueError, match=says):
        seen.redraw(pipe)
    if name != "AmusedScheduler":  # which needs a number to be made
        own.scheduler = getattr(diffusers, name)()
        with pytest.raises(ValueError, match=says):
            draw(own, "a cat", num_inference_steps=2)


@pytest.mark.parametrize("none", [None, diffusers.DDIMScheduler])
def test_a_pipeline_without_a_scheduler_draws_nothing(own: Any, none: Any) -> None:
    own.scheduler = none
    with pytest.raises(ValueError, match=r"The pipeline's scheduler is .*, which is none"):
        draw(own, "a cat", num_inference_steps=2)


@pytest.mark.parametrize("kind", ["DDIMScheduler", "UniPCMultistepScheduler"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"beta_schedule": "evil"},
        {"beta_schedule": 5},
        {"trained_betas": "evil"},
        {"trained_betas": [0.1, "a"]},
        {"trained_betas": [0.1, 0.2]},
        {"trained_betas": [[0.1]] * 1000},
        {"trained_betas": [float("nan")] * 1000},
        {"trained_betas": {"a": 1}},
        {"num_train_timesteps": 10**12},
        {"num_train_timesteps": 0},
        {"num_train_timesteps": -5},
        {"num_train_timesteps": "1000"},
        {"num_train_timesteps": 1000.0},
        {"num_train_timesteps": True},
        {"beta_start": float("nan")},
        {"beta_start": "0.1"},
        {"beta_start": 5.0},
        {"beta_end": [1]},
        {"beta_end": 1e300},
        {"prediction_type": "evil"},
        {"timestep_spacing": "evil"},
        {"steps_offset": 10**12},
        {"thresholding": "yes"},
        {"rescale_betas_zero_snr": 1.5},
        {"solver_order": 10**9, "clip_sample": "x"},
        {"use_karras_sigmas": {}, "set_alpha_to_one": {}},
    ],
)
def test_a_scheduler_that_cannot_be_made_is_a_sentence(
    pipe: Any, tmp_path: Path, kind: str, wrong: dict[str, Any]
) -> None:
    cannot_be_drawn(pipe, tmp_path, {"_class_name": kind, **wrong})


def cannot_be_drawn(pipe: Any, tmp_path: Path, scheduler: dict[str, Any]) -> None:
    path = with_settings(tmp_path / "cat.png", scheduler=scheduler)
    own, seen = pipe.scheduler, load_settings(path)
    with pytest.raises(ValueError, match=r"scheduler") as caught:
        seen.redraw(pipe)
    assert str(caught.value).endswith(".")
    assert str(caught.value).isprintable()
    assert pipe.scheduler is own


def test_arguments_that_this_pipeline_cannot_take_are_refused(pipe: Any, tmp_path: Path) -> None:
    own = pipe.scheduler
    for wrong, says in (
        ({"num_inference_steps": 10**9}, "1000000000 steps, but 1000 noise levels"),
        ({"height": 10**9}, "more than 4096"),
        ({"strength": 0.5}, "no argument 'strength'"),
        ({"image": in_base64(GREY)}, "takes no image"),
        ({"clip_skip": 500}, "with this model"),
        ({"timesteps": [999, 10**6]}, "from 0 to 999"),
        ({"guidance_scale": 1e38, "num_inference_steps": 2}, "picture holds NaN"),
    ):
        seen = load_settings(with_settings(tmp_path / "cat.png", arguments=wrong))
        with pytest.raises(ValueError, match=says):
            seen.redraw(pipe)
        assert pipe.scheduler is own


def test_settings_made_by_hand_are_checked_too(pipe: Any) -> None:
    honest = {key: value for key, value in HONEST.items() if key != "format"}
    for wrong in ({"arguments": {"prompt": "b"}}, {"seed": [1, 2]}, {"prompt": None}):
        with pytest.raises(ValueError, match=r"prompt|seed"):
            Settings(**{**honest, **wrong}).redraw(pipe)


@pytest.mark.parametrize("field", ["task", "model", "prompt", "seed", "arguments", "scheduler"])
@pytest.mark.parametrize("value", [None, 1.5, [], b"x"])
def test_settings_of_other_types_made_by_hand_are_refused(
    pipe: Any, tmp_path: Path, field: str, value: Any
) -> None:
    honest = load_settings(with_settings(tmp_path / "cat.png"))
    with pytest.raises(ValueError, match=r"\.$"):
        replace(honest, **{field: value}).redraw(pipe)


def test_an_interrupt_puts_the_scheduler_back(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    own = pipe.scheduler
    monkeypatch.setitem(vars(pipe.unet), "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Settings(**{key: value for key, value in HONEST.items() if key != "format"}).redraw(pipe)
    assert pipe.scheduler is own


# Whatever comes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*HONEST, "image", "height"]) | st.text(), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changed=st.dictionaries(st.sampled_from(list(HONEST)), JSON, min_size=1, max_size=3))
def test_changed_settings_are_values_or_a_sentence(tmp_path: Path, changed: dict[str, Any]) -> None:
    come_back_or_are_refused(with_settings(tmp_path / "cat.png", **changed))


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_damaged_file_is_read_or_is_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    path = with_settings(tmp_path / "cat.png")
    damaged = np.frombuffer(path.read_bytes(), np.uint8).copy()
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))].tobytes())
    come_back_or_are_refused(path)


def come_back_or_are_refused(path: Path) -> None:
    try:
        read = load_settings(path)
    except ValueError as error:
        said = str(error)
    else:
        said = "." if isinstance(read, Settings) and 0 <= read.seed < 2**64 else "no settings"
    assert said.endswith(".")
    assert "\n" not in said
