"""`companion attend`: a picture, a sheet and a page, or one sentence."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from companion.attention import drawing
from companion.attention.explorer import Explorer, explorer
from companion.attention.results import FILES, unfinished
from companion.cli import main
from companion.zoo import folder as zoo
from damage import changeable_copy
from exiftool import read_with_exiftool

PROMPT = "a cat on a blue background"
UNET, TEXT_ENCODER = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one run has written."""
    folder = tmp_path_factory.mktemp("attend") / "results"
    words = "blue background, cat"
    given = ["--words", words, "--steps", "2", "--seed", "3", "--out", str(folder)]
    assert main(["attend", PROMPT, *given]) == 0
    return folder


def test_writes_picture_sheet_and_page_and_nothing_else(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "index.html",
        "picture.png",
        "words.png",
    ]
    assert not [path for path in folder.parent.iterdir() if path != folder]


def test_all_that_it_drew_says_so(folder: Path, tmp_path: Path) -> None:
    page = BeautifulSoup((folder / "index.html").read_text(encoding="utf-8"), "html.parser")
    pictures = [folder / "picture.png", folder / "words.png"]
    for number, image in enumerate(page.find_all("img")):
        pictures.append(tmp_path / f"{number}.png")
        pictures[-1].write_bytes(base64.b64decode(str(image["src"]).partition(",")[2]))
    assert len(pictures) == 4
    for path in pictures:
        source = read_with_exiftool(path)["XMP-iptcExt:DigitalSourceType"]
        assert source.endswith("/trainedAlgorithmicMedia")


def test_picture_is_that_of_the_seed(folder: Path) -> None:
    import torch
    from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler

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


def test_page_has_the_words_asked_for_in_the_order_of_the_prompt(folder: Path) -> None:
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
        ([PROMPT, "--model", "upscaler"], "A StableDiffusionUpscalePipeline draws from a picture"),
        ([PROMPT, "--model", "vae", "--out", "a/b"], f"{zoo('vae')} is no model that can be"),
        ([PROMPT, "--model", ""], "--model is empty: name a model, or leave it out."),
        ([PROMPT, "--model", "./none"], "There is no folder none"),
        ([PROMPT, "--model", __file__], f"There is no folder {__file__}"),
        ([PROMPT, "--steps", "1000000000"], "--steps is 1000000000, but this model knows 1000"),
        (["!!! …"], "The prompt '!!! …' has no words"),
        (["a caf\udce9"], "The prompt holds bytes that are no UTF-8"),
        ([PROMPT, "--out", "/proc/o"], "The results cannot be written to /proc/o"),
        ([PROMPT, "--out", "/dev/full/o"], "The results cannot be written to /dev/full/o"),
        ([PROMPT, "--out", "x" * 256], "The results cannot be written to xxx"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing_behind(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["attend", *arguments]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"companion: {message}")
    assert printed.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that were drawn, each in no time."""
    prompts: list[str] = []

    def draw(prompt: str, *_: object) -> tuple[Image.Image, Explorer]:
        prompts.append(prompt)
        picture = Image.new("RGB", (8, 8))
        maps = np.ones((1, 1, 2, 2))
        return picture, explorer(picture, "a cat", [(2, 5)], maps, ["all steps"], alt="A cat")

    monkeypatch.setattr(drawing, "draw", draw)
    return prompts


def leads_nowhere(place: Path) -> None:
    place.symlink_to("nowhere")


def leads_to_itself(place: Path) -> None:
    place.symlink_to(place)


@pytest.mark.parametrize("make", [leads_nowhere, leads_to_itself, Path.touch])
def test_a_place_that_is_taken_is_said_before_anything_is_drawn(
    make: Callable[[Path], None], tmp_path: Path, drawn: list[str], capsys: Any
) -> None:
    make(tmp_path / "out")
    assert main(["attend", PROMPT, "--out", str(tmp_path / "out")]) == 1
    assert "is there already; name a new folder with --out" in capsys.readouterr().err
    assert main(["attend", PROMPT, "--out", str(tmp_path / "out" / "in")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not drawn
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_results_go_into_an_empty_folder_and_through_a_link_to_one(
    tmp_path: Path, drawn: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    assert main(["attend", PROMPT, "--out", str(tmp_path / "link")]) == 0
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == sorted(FILES)
    assert (tmp_path / "link").is_symlink()


def test_a_folder_that_was_made_meanwhile_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: list[str], capsys: Any
) -> None:
    out = tmp_path / "out"
    draw = drawing.draw

    def slowly(*given: Any) -> Any:
        out.mkdir()
        (out / "mine").touch()
        return draw(*given)

    monkeypatch.setattr(drawing, "draw", slowly)
    assert main(["attend", PROMPT, "--out", str(out)]) == 0
    assert f"open {out}-1/index.html" in capsys.readouterr().out
    assert [path.name for path in out.iterdir()] == ["mine"]
    assert sorted(path.name for path in Path(f"{out}-1").iterdir()) == sorted(FILES)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "out-1"}


def test_what_a_killed_run_left_is_cleared_and_nothing_else(
    tmp_path: Path, drawn: list[str]
) -> None:
    (tmp_path / ".attend-0_leftov").mkdir()
    (tmp_path / ".attend-0_leftov" / "index.html").touch()
    (tmp_path / ".attend-0_leftov.lock").touch()
    (tmp_path / ".attend-somebody").mkdir()
    (tmp_path / ".attend-readers0").mkdir()
    (tmp_path / ".attend-readers0" / "thesis.txt").touch()
    with unfinished(tmp_path / "other") as at_work:
        assert main(["attend", PROMPT, "--out", str(tmp_path / "out")]) == 0
        assert at_work.is_dir()
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {".attend-readers0", at_work.name, f"{at_work.name}.lock", "out"}
    assert {path.name for path in tmp_path.iterdir()} == {".attend-readers0", "out"}


def test_a_failure_leaves_no_folder_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr(drawing, "draw", fails)
    assert main(["attend", PROMPT, "--out", str(tmp_path / "a" / "b" / "out")]) == 1
    assert capsys.readouterr().err == "companion: no\n"
    assert not list(tmp_path.iterdir())


def test_a_prompt_of_long_letters_is_no_name_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["attend", "𝕬" * 100, "--seed", str(2**63 - 1)]) == 0
    assert drawn == ["𝕬" * 100]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the zoo's Stable Diffusion, to be damaged."""
    return changeable_copy(zoo("stable-diffusion"), tmp_path / "model")


@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model.bin", "text_encoder/model.bin"])
def test_a_pickle_is_not_loaded(file: str, model: Path, tmp_path: Path, capsys: Any) -> None:
    (model / file).with_suffix(".safetensors").rename(model / file)
    assert main(["attend", PROMPT, "--model", str(model), "--out", str(tmp_path / "out")]) == 1
    assert "a pickle, which may run code" in capsys.readouterr().err


def weights_lack_one(weights: dict[str, Any]) -> None:
    del weights[min(weights)]


def weights_hold_nan(weights: dict[str, Any]) -> None:
    weights[min(weights)] *= float("nan")


@pytest.mark.parametrize(
    ("file", "damage", "says"),
    [
        (UNET, weights_lack_one, "The weights of the unet in .* lack conv_in.bias"),
        (TEXT_ENCODER, weights_lack_one, "The weights of the text_encoder in .* lack embeddings"),
        (UNET, weights_hold_nan, "could not draw this .*The picture holds NaN"),
    ],
)
def test_a_damaged_model_draws_no_picture(
    file: str,
    damage: Callable[[dict[str, Any]], None],
    says: str,
    model: Path,
    tmp_path: Path,
    capsys: Any,
) -> None:
    from safetensors.torch import load_file, save_file

    path = model / file
    weights = load_file(path)
    damage(weights)
    save_file(weights, path, metadata={"format": "pt"})
    given = ["--model", str(model), "--out", str(tmp_path / "out"), "--steps", "1"]
    assert main(["attend", PROMPT, *given]) == 1
    assert re.search(says, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_scheduler_of_other_pipelines_is_said_before_anything_is_drawn(
    model: Path, tmp_path: Path, capsys: Any
) -> None:
    index = model / "model_index.json"
    parts = json.loads(index.read_text())
    parts["scheduler"] = ["diffusers", "DDPMWuerstchenScheduler"]
    index.write_text(json.dumps(parts))
    given = ["--model", str(model), "--out", str(tmp_path / "out")]
    assert main(["attend", PROMPT, *given]) == 1
    assert "A DDPMWuerstchenScheduler steps in another way" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ("[]", "cannot be read: input should be an object"),
        ("{}", "names no pipeline of diffusers .* but None"),
        ('{"_class_name": "DiffusionPipeline"}', "names no pipeline of diffusers"),
        ('{"_class_name": ["evil", "Evil"]}', "names no pipeline of diffusers"),
        (
            '{"_class_name": "StableDiffusionPipeline", "unet": ["evil", "Evil"]}',
            "says that unet is a evil.Evil, which is no model",
        ),
    ],
)
def test_a_model_of_the_hub_is_looked_at_before_the_library_takes_it(
    index: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    import diffusers

    (tmp_path / "model_index.json").write_text(index)
    fetched = str(tmp_path / "model_index.json")
    monkeypatch.setattr(drawing, "hf_hub_download", lambda *_, **__: fetched)
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", pytest.fail)
    out = str(tmp_path / "out")
    assert main(["attend", PROMPT, "--model", "evil/model", "--out", out]) == 1
    printed = capsys.readouterr().err
    assert re.search(says, printed)
    assert printed.count("\n") == 1


def test_a_word_that_is_not_there_is_said_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["attend", PROMPT, "--words", "dog"]) == 1
    assert capsys.readouterr().err == (
        "companion: 'dog' is not in the prompt; its words are: a, cat, on, blue, background.\n"
    )


def test_what_is_there_already_is_not_touched(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main(["attend", PROMPT, "--out", str(folder)]) == 1
    assert "name a new folder with --out" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
