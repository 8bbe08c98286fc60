"""Of a folder the pictures are taken that its owner means; the rest is counted and said."""

import os
from pathlib import Path

import pytest
from PIL import Image

from companion.training import TrainingConfig, load_pictures, make_dataloader
from companion.training.walk import look_through


def put(*places: Path) -> None:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(place, "PNG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path / "mine" / "a.png", tmp_path / "mine" / "cats" / "b.png")
    return tmp_path / "mine"


@pytest.mark.parametrize(
    "name",
    [
        ".ipynb_checkpoints/a-checkpoint.png",
        ".thumbnails/a.png",
        "__MACOSX/a.png",
        "@eaDir/a.png/thumb.jpg",
        "._a.png",
        "cats/.hidden.png",
    ],
)
def test_what_tools_keep_for_themselves_is_passed_over(folder: Path, name: str) -> None:
    put(folder / name)
    with pytest.warns(UserWarning, match=r"hidden files and folders \(1\)"):
        assert len(load_pictures(folder, 8)) == 2


@pytest.mark.parametrize(
    "name", ["notes.pdf", "data.h5", "film.mpg", "drawing.svg", "a.eps", "x.y"]
)
def test_what_cannot_be_opened_is_passed_over_and_counted(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"%PDF-1.4")
    suffix = name[name.index(".") :]
    with pytest.warns(UserWarning, match=rf"Passed over: \{suffix} files \(1\)"):
        assert len(load_pictures(folder, 8)) == 2


def test_the_remedy_for_photographs_of_a_telephone_is_named(folder: Path) -> None:
    (folder / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.warns(UserWarning, match=r"\.heic files \(1\); save .* as JPEG or PNG"):
        assert len(load_pictures(folder, 8)) == 2


def test_a_folder_of_nothing_but_others_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"no picture in .*Passed over: \.heic files \(1\); save"):
        load_pictures(tmp_path, 8)


def test_captions_of_an_imagefolder_are_no_reason_to_speak(
    folder: Path, recwarn: pytest.WarningsRecorder
) -> None:
    (folder / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a cat"}\n')
    assert len(load_pictures(folder, 8)) == 2
    assert not recwarn.list


def test_upper_case_and_wrong_and_missing_suffixes_are_read(folder: Path) -> None:
    put(folder / "C.PNG", folder / "really-a-png.jpg", folder / "download")
    assert len(load_pictures(folder, 8)) == 5


def test_a_linked_folder_is_followed_once_and_a_circle_is_not(folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "dogs" / "c.png")
    (folder / "dogs").symlink_to(tmp_path / "elsewhere" / "dogs")
    (folder / "again").symlink_to(tmp_path / "elsewhere" / "dogs")
    (folder / "cats-too").symlink_to(folder / "cats")
    (folder / "cats" / "up").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    names = [path.name for path in look_through(folder).pictures]
    assert sorted(names) == ["a.png", "b.png", "c.png"]


def test_a_folder_that_is_known_by_two_names_keeps_its_own(folder: Path) -> None:
    (folder / "aa").symlink_to(folder / "cats")
    assert folder / "cats" / "b.png" in look_through(folder).pictures


def test_the_run_among_the_pictures_is_left_out(folder: Path) -> None:
    put(folder / "model" / "samples" / "0000.png")
    assert len(look_through(folder, leave_out=folder / "model").pictures) == 2


@pytest.mark.parametrize("signs", [["model_index.json"], ["log.csv", "checkpoints"]])
def test_any_other_run_among_the_pictures_is_left_out(folder: Path, signs: list[str]) -> None:
    put(folder / "old" / "samples" / "0000.png")
    for sign in signs:
        (folder / "old" / sign).touch()
    with pytest.warns(UserWarning, match=r"folders of a training run \(1\)"):
        assert len(load_pictures(folder, 8)) == 2


def test_of_a_run_in_the_very_folder_only_its_own_folders_are_left_out(folder: Path) -> None:
    put(folder / "samples" / "0000.png")
    assert len(look_through(folder, leave_out=folder).pictures) == 2
    assert len(look_through(folder).pictures) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_a_pipe_that_is_called_a_picture_is_a_bad_picture(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe\.png is no file but a folder, a pipe"):
        load_pictures(folder, 8)


def test_names_with_codes_are_written_out(folder: Path) -> None:
    (folder / "\x1b[31mred.png").write_bytes(b"x")
    with pytest.raises(ValueError, match="red") as caught:
        load_pictures(folder, 8)
    assert "\x1b" not in str(caught.value)


def test_the_folder_of_the_run_is_left_out_under_its_short_name_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "run").mkdir()
    for name in ("a.png", "run/drawn.png"):
        Image.new("RGB", (16, 16)).save(tmp_path / name)
    config = TrainingConfig(dataset_name=str(tmp_path), image_size=16, output_dir="~/run")
    with pytest.warns(UserWarning, match="folders of a training run"):
        assert len(make_dataloader(config).dataset) == 1  # type: ignore[arg-type]
