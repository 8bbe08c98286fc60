"""Pictures from a folder, a dataset or the scenes; what cannot be read is named."""

import io
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
import torch
from PIL import Image

from companion.scenes import dataset, export_imagefolder, scene
from companion.training import PictureDataset, TrainingConfig, load_pictures, picture_loader, train
from companion.training.pictures import named_pictures, to_square


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three scenes, in a folder and a folder inside it."""
    export_imagefolder(tmp_path / "pictures", range(2), subset="flowers", image_size=16)
    export_imagefolder(tmp_path / "pictures" / "more", [2], subset="flowers", image_size=16)
    return tmp_path / "pictures"


@pytest.fixture
def spoiled(folder: Path) -> Path:
    """With a picture cut short, one that is no picture, and a link that leads nowhere."""
    whole = (folder / "scene-000000.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("not a picture")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    return folder


def test_a_folder_is_searched_with_its_subfolders(folder: Path) -> None:
    pixels = load_pictures(folder, 16)
    expected = torch.stack(
        [torch.from_numpy(scene(n, subset="flowers", size=16).pixels) for n in (2, 0, 1)]
    )
    assert torch.equal(pixels, expected.permute(0, 3, 1, 2))


def test_scenes_are_the_scenes() -> None:
    pixels = load_pictures("scenes:flowers", 16, num_scenes=3)
    assert pixels.shape == (3, 3, 16, 16)
    assert pixels.dtype == torch.uint8
    one = torch.from_numpy(scene(1, subset="flowers", size=16).pixels)
    assert torch.equal(pixels[1], one.permute(2, 0, 1))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("cut.png", r"cut\.png \("), ("text.jpg", r"text\.jpg \("), ("gone.png", "it is missing")],
)
def test_a_picture_that_cannot_be_read_stops_with_its_name(
    spoiled: Path, name: str, sentence: str
) -> None:
    for other in {"cut.png", "text.jpg", "gone.png"} - {name}:
        (spoiled / other).unlink()
    with pytest.raises(ValueError, match=sentence):
        load_pictures(spoiled, 16)


def test_pictures_that_cannot_be_read_are_left_out_and_named_on_request(spoiled: Path) -> None:
    with pytest.warns(UserWarning, match=r"Left out 3 of 6 pictures.*cut\.png.*gone\.png.*text"):
        assert len(load_pictures(spoiled, 16, on_bad="skip")) == 3


def test_nothing_but_bad_pictures_is_an_error(spoiled: Path) -> None:
    for path in spoiled.rglob("scene-*.png"):
        path.unlink()
    with pytest.raises(ValueError, match=r"None of the 3 pictures of .* can be read"):
        load_pictures(spoiled, 16, on_bad="skip")


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no picture in the folder"):
        load_pictures(tmp_path, 16)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        load_pictures(tmp_path / "nowhere", 16)


def test_a_dataset_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="my/flowers is neither a folder here nor could it"):
        load_pictures("my/flowers", 16)


def test_a_dataset_gives_its_pictures_one_by_one() -> None:
    scenes = dataset(2, subset="flowers", image_size=16)
    named = [(name, to_square(open_it(), 16)) for name, open_it in named_pictures(scenes, "mine")]
    assert [name for name, _ in named] == ["mine, row 0", "mine, row 1"]
    assert torch.equal(named[1][1], load_pictures("scenes:flowers", 16, num_scenes=2)[1])


def test_a_dataset_without_pictures_is_an_error() -> None:
    texts = datasets.Dataset.from_dict({"caption": ["a cat"], "number": [1]})
    with pytest.raises(ValueError, match="no column of pictures, only: caption, number"):
        named_pictures(texts, "mine")


def test_a_picture_is_cut_to_its_middle_square() -> None:
    picture = Image.new("RGB", (30, 10), "red")
    picture.paste("blue", (10, 0, 20, 10))
    assert to_square(picture, 10).float().mean(dim=(1, 2)).tolist() == [0, 0, 255]


def test_a_picture_is_turned_as_its_camera_says() -> None:
    picture = Image.new("RGB", (8, 8), "white")
    picture.paste("black", (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    buffer = io.BytesIO()
    picture.save(buffer, "png", exif=exif)
    pixels = to_square(Image.open(buffer), 8)
    assert pixels[:, :4].float().mean() > 250 > 5 > pixels[:, 4:].float().mean()


def test_what_is_transparent_becomes_white() -> None:
    assert to_square(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), 8).unique().tolist() == [255]


def test_a_gray_picture_gets_three_channels() -> None:
    assert to_square(Image.new("L", (8, 8), 7), 8).unique().tolist() == [7]


def test_a_batch_is_scaled_and_half_of_it_flipped() -> None:
    pixels = torch.zeros(400, 3, 2, 2, dtype=torch.uint8)
    pixels[..., 0] = 255
    (batch,) = picture_loader(PictureDataset(pixels), 400)
    images = batch["images"]
    assert images.unique().tolist() == [-1, 1]
    assert 140 < (images[:, 0, 0, 1] == 1).sum() < 260
    assert (images.sum(dim=-1) == 0).all()


def test_without_flips_pictures_stay_as_they_are() -> None:
    pixels = torch.randint(256, (4, 3, 2, 2), dtype=torch.uint8)
    images = PictureDataset(pixels, random_flip=False).__getitems__([2, 0])["images"]
    assert torch.equal(((images + 1) * 127.5).round().byte(), pixels[[2, 0]])


def test_a_folder_of_pictures_trains(tiny: Callable[..., TrainingConfig], folder: Path) -> None:
    run = train(tiny(dataset_name=str(folder), train_batch_size=3))
    assert len(run.losses) == 3
