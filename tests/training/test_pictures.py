"""Pictures from a folder, a dataset or the scenes; what cannot be read is named."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from companion.scenes import export_imagefolder, scene
from companion.training import PictureDataset, TrainingConfig, load_pictures, picture_loader, train
from companion.training.pictures import to_square
from companion.training.schedule import cosine_schedule


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
    picture = torch.from_numpy(scene(1, subset="flowers", size=16).pixels)
    assert torch.equal(pixels[1], picture.permute(2, 0, 1))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cut.png", r"cut\.png cannot be read as a picture \("),
        ("text.jpg", r"text\.jpg is no picture"),
        ("gone.png", r"gone\.png is missing"),
    ],
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


def test_a_grey_picture_gets_three_channels() -> None:
    assert to_square(Image.new("L", (8, 8), 7), 8).unique().tolist() == [7]


@pytest.mark.parametrize(("channels", "expected"), [(1, [29]), (3, [0, 255]), (4, [0, 9, 255])])
def test_a_picture_gets_as_many_channels_as_are_asked_for(
    channels: int, expected: list[int]
) -> None:
    alpha = 9 if channels == 4 else 255
    pixels = to_square(Image.new("RGBA", (8, 8), (0, 0, 255, alpha)), 8, channels)
    assert pixels.shape == (channels, 8, 8)
    assert pixels.unique().tolist() == expected


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, 64), (64, 1)).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    assert len(load_pictures(tmp_path, 64).unique()) == 64


def test_a_large_photograph_is_the_same_when_it_is_decoded_smaller(tmp_path: Path) -> None:
    picture = Image.fromarray(scene(0, size=64).pixels).resize((640, 640), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "large.jpg", quality=95)
    off = load_pictures(tmp_path, 32)[0].float() - to_square(picture, 32).float()
    assert off.abs().mean() < 2


def test_pictures_that_do_not_fit_in_memory_are_not_loaded(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr("companion.training.pictures._free_memory", lambda: 2000)
    for source in (folder, "scenes:flowers"):
        with pytest.raises(RuntimeError, match=r"pictures of 16x16 take .* GB are free: lower"):
            load_pictures(source, 16)


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


@pytest.mark.parametrize("channels", [1, 4])
def test_a_model_of_other_channels_trains(
    tiny: Callable[..., TrainingConfig], folder: Path, channels: int
) -> None:
    config = tiny(dataset_name=str(folder), train_batch_size=3)
    model = {**config.model, "in_channels": channels, "out_channels": channels}
    run = train(dataclasses.replace(config, model=model))
    with Image.open(run.folder / "samples" / "0002.png") as grid:
        assert grid.mode == {1: "L", 4: "RGBA"}[channels]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"in_channels": 2, "out_channels": 2}, "in_channels 2 .* 1 .grey., 3 .RGB. or 4"),
        ({"in_channels": 3, "out_channels": 6}, "out_channels 6"),
        ({"num_class_embeds": 3}, "ask for classes"),
        ({"class_embed_type": "timestep"}, "ask for classes"),
    ],
)
def test_a_model_that_the_loop_cannot_train_is_refused_before_pictures_are_read(
    tiny: Callable[..., TrainingConfig], changes: dict[str, object], sentence: str
) -> None:
    config = tiny(dataset_name="/nowhere")
    with pytest.raises(ValueError, match=sentence):
        train(dataclasses.replace(config, model={**config.model, **changes}))


def test_kid_is_for_three_channels(tiny: Callable[..., TrainingConfig]) -> None:
    config = tiny(kid_samples=4)
    model = {**config.model, "in_channels": 1, "out_channels": 1}
    with pytest.raises(ValueError, match="kid_samples is for pictures of 3 channels"):
        train(dataclasses.replace(config, model=model))


@pytest.mark.parametrize(("pictures", "warmup"), [(3, 1), (200, 12), (9000, 500)])
def test_the_warm_up_fits_a_folder_of_any_size(pictures: int, warmup: int) -> None:
    config = TrainingConfig()
    loader = picture_loader(PictureDataset(torch.zeros(pictures, 3, 1, 1)), 16)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    rate = cosine_schedule(config, optimizer, loader).lr_lambdas[0]
    assert rate(warmup) == 1
    assert warmup == 0 or rate(warmup - 1) < 1
