"""`companion attend`: a picture, a sheet and a page, or one sentence."""

from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from companion.cli import main

PROMPT = "a cat on a blue background"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one run has written."""
    folder = tmp_path_factory.mktemp("attend") / "results"
    words = "blue background, cat"
    given = ["--words", words, "--steps", "2", "--seed", "3", "--out", str(folder)]
    assert main(["attend", PROMPT, *given]) == 0
    return folder


def test_writes_picture_sheet_and_page_and_nothing_else(folder: Path):
    assert sorted(path.name for path in folder.iterdir()) == [
        "index.html",
        "picture.png",
        "words.png",
    ]
    assert not [path for path in folder.parent.iterdir() if path != folder]


def test_picture_is_that_of_the_seed(folder: Path):
    import torch
    from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler

    from companion.zoo import folder as zoo

    pipe = StableDiffusionPipeline.from_pretrained(zoo("stable-diffusion"))
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = UniPCMultistepScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="linspace"
    )
    expected = pipe(
        PROMPT,
        num_inference_steps=2,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    with Image.open(folder / "picture.png") as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(expected))


def test_page_has_the_words_asked_for_in_the_order_of_the_prompt(folder: Path):
    page = BeautifulSoup((folder / "index.html").read_text(), "html.parser")
    assert [button.text for button in page.find_all("button")] == ["cat", "blue background"]
    assert page.find("input")["max"] == "2"  # two steps, and all


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([" "], "The prompt is empty"),
        ([PROMPT, "--steps", "0"], "--steps is 0"),
        ([PROMPT, "--seed", "-1"], "--seed is -1"),
        ([PROMPT, "--words", " , "], "--words names no word"),
        ([PROMPT, "--model", "ddpm"], "A UNet2DModel cannot be traced"),
        ([PROMPT, "--model", "vae"], "'vae' could not be loaded as a pipeline"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing_behind(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert main(["attend", *arguments]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"companion: {message}")
    assert printed.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_word_that_is_not_there_is_said_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert main(["attend", PROMPT, "--words", "dog"]) == 1
    assert capsys.readouterr().err == (
        "companion: 'dog' is not in the prompt; its words are: a, cat, on, blue, background.\n"
    )


def test_what_is_there_already_is_not_touched(folder: Path, capsys: pytest.CaptureFixture[str]):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main(["attend", PROMPT, "--out", str(folder)]) == 1
    assert "name a new folder with --out" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
