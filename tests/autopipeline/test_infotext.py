"""The text of a kept picture that other tools read, taken apart as AUTOMATIC1111's webui does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from companion.autopipeline import (
    Settings,
    draw,
    load_settings,
    make_scheduler,
    save_with_settings,
    scheduler_names,
)
from companion.autopipeline.infotext import infotext, sampler_name
from companion.autopipeline.saving import KEY
from companion.door.labels import XMP_KEY
from companion.scenes import scene
from exiftool import read_with_exiftool

GREY = Image.new("RGB", (64, 48), "gray")
FROG = scene(7, subset="stable-diffusion")
SETTINGS = Settings("text-to-image", "stable-diffusion", "a cat", 37, {}, {"_class_name": "A"}, "")
# A name, a colon, and up to the next comma a value, or one in double quotes.
VALUE = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def parsed(text: str) -> dict[str, str]:
    """What the webui finds in the text: its last line are values if it holds three or more."""
    *lines, last = text.strip().split("\n")
    values = VALUE.findall(last)
    assert len(values) >= 3
    found = {"Prompt": "", "Negative prompt": ""}
    part = "Prompt"
    for line in map(str.strip, lines):
        if line.startswith("Negative prompt:"):
            part, line = "Negative prompt", line[16:].strip()
        found[part] += ("\n" if found[part] else "") + line
    return found | {name: json.loads(v) if v[:1] == v[-1:] == '"' else v for name, v in values}


def read(path: Path) -> dict[str, str]:
    with Image.open(path) as kept:
        return parsed(kept.info["parameters"])


def test_a_kept_picture_is_read_as_the_webui_reads_it(pipe: Any, tmp_path: Path) -> None:
    own = pipe.scheduler
    pipe.scheduler = make_scheduler("DPM++ 2M Karras", own)
    try:
        given = {"num_inference_steps": 4, "guidance_scale": 4.0, "negative_prompt": "blurry, red"}
        save_with_settings(tmp_path / "cat.png", GREY, pipe, "a cat", seed=37, **given)
    finally:
        pipe.scheduler = own
    found = read(tmp_path / "cat.png")
    assert found.pop("Version").startswith("companion ")
    assert found == {
        "Prompt": "a cat",
        "Negative prompt": "blurry, red",
        "Steps": "4",
        "Sampler": "DPM++ 2M Karras",
        "CFG scale": "4",
        "Seed": "37",
        "Size": "64x48",
        "Model": "stable-diffusion",
        "RNG": "CPU",
    }


def test_what_is_not_said_is_the_pipelines_own(pipe: Any, tmp_path: Path) -> None:
    save_with_settings(tmp_path / "cat.png", GREY, pipe, "a cat", seed=1)
    found = read(tmp_path / "cat.png")
    assert (found["Steps"], found["CFG scale"], found["Negative prompt"]) == ("50", "7.5", "")
    assert "Denoising strength" not in found


def test_a_redrawn_picture_tells_its_strength_and_what_it_is(
    pipes: dict[str, Any], tmp_path: Path
) -> None:
    mask = Image.fromarray(FROG.masks[0])
    calls: dict[str, dict[str, Any]] = {
        "text-to-image": {},
        "image-to-image": {"image": FROG.image, "strength": 0.6},
        "inpainting": {"image": FROG.image, "mask_image": mask, "strength": 1.0},
    }
    for task, inputs in calls.items():
        path = tmp_path / f"{task}.png"
        save_with_settings(path, FROG.image, pipes[task], "a cat", seed=1, **inputs)
        assert read(path).get("Denoising strength") == {0.6: "0.6", 1.0: "1"}.get(
            inputs.get("strength", 0)
        )
        source = read_with_exiftool(path)["XMP-iptcExt:DigitalSourceType"].rpartition("/")[2]
        redrawn = "compositeWithTrainedAlgorithmicMedia"
        assert source == (redrawn if inputs else "trainedAlgorithmicMedia")


def test_layers_are_counted_as_the_webui_counts_them() -> None:
    def skip(**arguments: int) -> str | None:
        settings = Settings(**{**vars(SETTINGS), "arguments": arguments})
        return parsed(infotext(settings, (8, 8), {})).get("Clip skip")

    assert (skip(), skip(clip_skip=0), skip(clip_skip=1)) == (None, None, "2")


@pytest.mark.parametrize(
    "model", ["a, b", "c: d", 'say "cat"', "two\nlines", '"quoted"', "back\\slash, and", "模型"]
)
def test_values_that_would_end_early_are_quoted(model: str) -> None:
    text = infotext(Settings(**{**vars(SETTINGS), "model": model}), (8, 8), {})
    assert parsed(text)["Model"] == model
    assert parsed(text)["RNG"] == "CPU"


def test_samplers_have_the_webuis_names(pipe: Any) -> None:
    names = {}
    for name in scheduler_names():
        made = make_scheduler(name, pipe.scheduler)
        names[name] = sampler_name({"_class_name": type(made).__name__, **made.config})
    assert names == {
        "DDPM": "DDPM",  # which the webui has not
        "DDIM": "DDIM",
        "PNDM": "PLMS",
        "Euler": "Euler",
        "DPM++ 2M Karras": "DPM++ 2M Karras",
        "UniPC": "UniPC",
    }


def test_a_version_that_the_webui_takes_for_no_own_one() -> None:
    from packaging.version import InvalidVersion, Version

    with pytest.raises(InvalidVersion):
        Version(parsed(infotext(SETTINGS, (8, 8), {}))["Version"])


PROMPTS = {
    "chinese": "一只猫，蓝色背景",
    "lines": "a cat\non a blue background\n",
    "xml": "<cat> & \"dog\" ]]> 'x' &amp; <?xpacket?>",
    "looks like values": "Steps: 3, Sampler: none, Seed: 4, Size: 1x1",
    "emoji": "a 🐸 on a pond",
    "zero byte": "a\0cat",
    "empty": "",
    "long": "a very long prompt, " * 5000,
    "long and chinese": "猫" * 100_000,
}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_no_prompt_breaks_any_of_the_texts(pipe: Any, tmp_path: Path, prompt: str) -> None:
    path = tmp_path / "cat.png"
    given = {"num_inference_steps": 2, "negative_prompt": prompt}
    written = save_with_settings(path, GREY, pipe, prompt, seed=1, **given)
    kept = load_settings(path)
    assert (kept.prompt, kept.arguments) == (prompt, written.arguments)
    found, seen = read(path), prompt.replace("\0", "").strip()
    assert (found["Prompt"], found["Negative prompt"]) == (seen, seen)
    assert found["Seed"] == "1"
    assert read_with_exiftool(path)["XMP-iptcExt:DigitalSourceType"]


def test_a_picture_with_all_texts_is_drawn_again(pipe: Any, tmp_path: Path) -> None:
    given = {"num_inference_steps": 2, "negative_prompt": PROMPTS["xml"]}
    (picture,) = draw(pipe, PROMPTS["chinese"], seeds=3, **given)
    save_with_settings(tmp_path / "a.png", picture, pipe, PROMPTS["chinese"], seed=3, **given)
    assert load_settings(tmp_path / "a.png").redraw(pipe).tobytes() == picture.tobytes()


def test_the_label_is_left_out_by_a_word(pipe: Any, tmp_path: Path) -> None:
    for label, name in ((True, "with.png"), (False, "without.png")):
        save_with_settings(tmp_path / name, GREY, pipe, "a cat", seed=1, label=label)
        with Image.open(tmp_path / name) as kept:
            texts = set(kept.info) - {"xmp"}
        assert texts == {KEY, "parameters", "Description", "Software"} | (
            {XMP_KEY} if label else set()
        )


def test_nothing_stands_where_comfyui_looks_for_a_graph(pipe: Any, tmp_path: Path) -> None:
    save_with_settings(tmp_path / "cat.png", GREY, pipe, "a cat", seed=1)
    with Image.open(tmp_path / "cat.png") as kept:
        assert not {"prompt", "workflow"} & {name.lower() for name in kept.info}


def test_the_same_picture_gives_the_same_file(pipe: Any, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_with_settings(tmp_path / name, GREY, pipe, "a cat", seed=1)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
