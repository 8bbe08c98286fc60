"""A picture kept with its settings is drawn again."""

import io
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from companion import profile
from companion.autopipeline import (
    draw,
    load_settings,
    make_scheduler,
    save_with_settings,
)
from companion.door import places
from companion.metrics import psnr
from companion.scenes import scene

FROG = scene(7, subset="stable-diffusion")  # "a frog on a brown background"
GREY = Image.new("RGB", (64, 64), "gray")
SAME = float("inf")  # dB
CALL = {"num_inference_steps": 4, "guidance_scale": 4.0, "negative_prompt": "红 background"}


def test_a_kept_picture_is_drawn_again(pipes: dict[str, Any], tmp_path: Path) -> None:
    calls: dict[str, dict[str, Any]] = {
        "text-to-image": {},
        "image-to-image": {"image": FROG.image, "strength": 0.6},
        "inpainting": {"image": FROG.image, "mask_image": Image.fromarray(FROG.masks[0])},
    }
    for task, inputs in calls.items():
        path, pipe, arguments = tmp_path / f"{task}.png", pipes[task], {**CALL, **inputs}
        (picture,) = draw(pipe, "a cat", seeds=37, **arguments)
        written = save_with_settings(path, picture, pipe, "a cat", seed=37, **arguments)
        read = load_settings(path)
        assert (read.task, read.model, read.seed) == (task, "stable-diffusion", 37)
        assert read.scheduler == json.loads(json.dumps(written.scheduler))
        with Image.open(path) as kept:
            assert psnr(kept, picture) == SAME
        assert psnr(read.redraw(pipe), picture) == SAME


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
    assert psnr(settings.redraw(pipe), picture) == SAME
    assert pipe.scheduler is own


def test_no_path_of_this_machine_is_written(pipe: Any, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    save_with_settings(path, GREY, pipe, "a cat", seed=1)
    assert str(Path(profile("small").autopipeline).parent).encode() not in path.read_bytes()


def test_a_model_of_the_hub_is_named_by_id_and_commit(own: Any, tmp_path: Path) -> None:
    cached = "/x/hub/models--dreamlike-art--dreamlike-photoreal-2.0/snapshots/d9e27ac81c"
    own.register_to_config(_name_or_path=cached)
    settings = save_with_settings(tmp_path / "cat.png", GREY, own, "a cat", seed=1)
    assert settings.model == "dreamlike-art/dreamlike-photoreal-2.0@d9e27ac81c"


def test_a_picture_that_cannot_be_written_leaves_the_old_one(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cat.png"
    save_with_settings(path, GREY, pipe, "a cat", seed=1)
    before = path.read_bytes()

    class FullDisk(io.FileIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(places, "create", lambda beside: FullDisk(beside, "wb"))
    with pytest.raises(
        OSError, match=r"cannot be written \(No space left on device\): take another"
    ):
        save_with_settings(path, GREY, pipe, "another", seed=2)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["cat.png"]


def test_what_cannot_be_kept_is_refused(pipe: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Settings go into a PNG file, but cat\.jpg is none"):
        save_with_settings(tmp_path / "cat.jpg", GREY, pipe, "a cat", seed=1)
    with pytest.raises(ValueError, match=r"a\\x00\.png', but no file can be called"):
        save_with_settings(tmp_path / "a\0.png", GREY, pipe, "a cat", seed=1)
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*none: make it first"):
        save_with_settings(tmp_path / "none/cat.png", GREY, pipe, "a cat", seed=1)
    latents = torch.zeros(1, 4, 16, 16)
    with pytest.raises(ValueError, match="The settings hold something that no file can"):
        save_with_settings(tmp_path / "cat.png", GREY, pipe, "a cat", seed=1, latents=latents)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [None, [], b"a.png", 5, "https://a.b/c.png", io.BytesIO()])
def test_what_is_no_path_is_said(pipe: Any, path: Any) -> None:
    with pytest.raises(ValueError, match=r"^path is .*the path of a file"):
        save_with_settings(path, GREY, pipe, "a cat", seed=1)
    with pytest.raises(ValueError, match=r"^path is .*the path of a file"):
        load_settings(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_nothing_is_written_in_place_of_what_is_no_file(pipe: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(OSError, match=r"pipe\.png is a folder, a pipe or a device"):
        save_with_settings(tmp_path / "pipe.png", GREY, pipe, "a cat", seed=1)
    assert [path.is_fifo() for path in tmp_path.iterdir()] == [True]


def test_a_picture_that_is_no_png_leaves_nothing_behind(pipe: Any, tmp_path: Path) -> None:
    closed, empty = GREY.copy(), Image.new("RGB", (0, 0))
    closed.close()
    wrong = [closed, empty]
    for name, value in (("icc_profile", 5), ("icc_profile", "x"), ("transparency", (1, 2))):
        wrong.append(GREY.copy())
        wrong[-1].info[name] = value
    for picture in wrong:
        with pytest.raises(ValueError, match=r"^picture cannot be made a PNG file \(.*\): give"):
            save_with_settings(tmp_path / "cat.png", picture, pipe, "a cat", seed=1)
    assert not list(tmp_path.iterdir())


def test_a_place_without_a_name_is_named_all_the_same() -> None:
    with pytest.raises(ValueError, match=r"^\. is no file but a folder"):
        load_settings(".")


def test_numbers_of_numpy_and_guided_are_kept_too(pipe: Any, tmp_path: Path) -> None:
    settings = {
        "num_inference_steps": np.int64(4),
        "guidance_scale": np.float32(4),
        "guided": 0.5,
        "negative_prompt": None,
    }
    seed = np.uint64(2**64 - 1)
    (picture,) = draw(pipe, "a cat", seeds=seed, **settings)
    save_with_settings(tmp_path / "cat.png", picture, pipe, "a cat", seed=seed, **settings)
    read = load_settings(tmp_path / "cat.png")
    assert read.seed == 2**64 - 1
    assert read.arguments == {"num_inference_steps": 4, "guidance_scale": 4.0, "guided": 0.5}
    assert psnr(read.redraw(pipe), picture) == SAME


def test_a_picture_that_went_in_turned_is_kept_upright(
    pipes: dict[str, Any], tmp_path: Path
) -> None:
    turned = FROG.image.resize((64, 128)).convert("RGBA")
    turned.getexif()[0x0112] = 6  # the camera was held sideways
    settings = {"image": turned, "strength": 0.5, "num_inference_steps": 4}
    pipe, path = pipes["image-to-image"], tmp_path / "cat.png"
    (picture,) = draw(pipe, "a cat", seeds=1, **settings)
    save_with_settings(path, picture, pipe, "a cat", seed=1, **settings)
    kept = load_settings(path)
    assert kept.arguments["image"].size == picture.size == (128, 64)
    assert psnr(kept.redraw(pipe), picture) == SAME


@pytest.mark.parametrize("mode", ["CMYK", "I"])
def test_a_picture_that_png_cannot_hold_is_kept_as_rgb(
    pipe: Any, tmp_path: Path, mode: str
) -> None:
    save_with_settings(tmp_path / "cat.png", Image.new(mode, (64, 64)), pipe, "a cat", seed=1)
    with Image.open(tmp_path / "cat.png") as kept:
        assert kept.mode == "RGB"


def test_what_draw_would_refuse_is_not_kept(pipe: Any, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    for wrong in ({"seed": -1}, {"seed": 1, "stength": 1}, {"seed": 1, "guidance_scale": np.nan}):
        with pytest.raises(ValueError, match=r"seed is -1|no argument 'stength'|finite number"):
            save_with_settings(path, GREY, pipe, "a cat", **wrong)
    with pytest.raises(ValueError, match="picture is a PIL picture, but str"):
        save_with_settings(path, "cat.png", pipe, "a cat", seed=1)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_settings_that_would_not_be_read_again_are_not_written(
    pipes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("companion.autopipeline.settings_json.LONGEST", 1000)
    with pytest.raises(ValueError, match=r"more than 1,000 bytes .* smaller pictures\."):
        save_with_settings(
            tmp_path / "a.png", GREY, pipes["image-to-image"], "a", seed=1, image=FROG.image
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_the_file_has_the_mode_that_the_umask_says(pipe: Any, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_with_settings(tmp_path / "cat.png", GREY, pipe, "a cat", seed=1)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "cat.png").stat().st_mode) == 0o640


def test_a_link_makes_way_and_what_it_leads_to_stays(pipe: Any, tmp_path: Path) -> None:
    precious, path = tmp_path / "thesis.txt", tmp_path / "cat.png"
    precious.write_text("precious")
    for target in (precious, tmp_path / "none"):
        path.symlink_to(target)
        save_with_settings(path, GREY, pipe, "a cat", seed=1)
        assert not path.is_symlink()
        path.unlink()
    assert precious.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [precious]


def test_a_place_that_cannot_be_written_is_said(pipe: Any, tmp_path: Path) -> None:
    (tmp_path / "cat.png").mkdir()
    places = [tmp_path / "cat.png", tmp_path / ("a" * 300 + ".png")]
    if os.name != "nt" and os.getuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        (tmp_path / "old.png").touch(mode=0o400)
        places += [tmp_path / "closed/cat.png", tmp_path / "old.png"]
    before = sorted(tmp_path.iterdir())
    for path in places:
        with pytest.raises(OSError, match=r"cannot be written \(.*\): take another place") as said:
            save_with_settings(path, GREY, pipe, "a cat", seed=1)
        assert str(said.value).endswith(".")
    assert sorted(tmp_path.iterdir()) == before
