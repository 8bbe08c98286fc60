"""Datasets: every form that one is saved in, and rows that name what is not theirs."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
import torch
from PIL import Image

from companion.door.pictures import open_picture
from companion.local_hub import LocalHub
from companion.local_hub.server import Answer, Request
from companion.scenes import dataset, export_imagefolder
from companion.training import load_pictures
from companion.training.pictures import to_square
from companion.training.rows import hub_dataset, named_pictures

SCENES = load_pictures("scenes:flowers", 16, num_scenes=3)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is unpacked for a test goes with the test."""
    for name in ("HF_DATASETS_CACHE", "DOWNLOADED_DATASETS_PATH", "EXTRACTED_DATASETS_PATH"):
        monkeypatch.setattr(f"datasets.config.{name}", str(tmp_path / "cache" / name))
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def scenes() -> datasets.Dataset:
    return dataset(3, subset="flowers", image_size=16)


def as_parquet(scenes: datasets.Dataset, place: Path) -> Path:
    place.mkdir()
    scenes.to_parquet(place / "train-00000-of-00001.parquet")
    return place


def as_saved(scenes: datasets.Dataset, place: Path) -> Path:
    scenes.save_to_disk(place)
    return place


def as_saved_splits(scenes: datasets.Dataset, place: Path) -> Path:
    datasets.DatasetDict(train=scenes, test=scenes.select([0])).save_to_disk(place)
    return place


def as_zip(scenes: datasets.Dataset, place: Path) -> Path:
    loose = export_imagefolder(place.parent / "loose", range(3), subset="flowers", image_size=16)
    place.mkdir()
    with zipfile.ZipFile(place / "pictures.zip", "w") as archive:
        for path in sorted(loose.glob("*.png")):
            archive.write(path, f"inner/{path.name}")
    return place


def as_tar(scenes: datasets.Dataset, place: Path) -> Path:
    import tarfile

    loose = export_imagefolder(place.parent / "loose", range(3), subset="flowers", image_size=16)
    place.mkdir()
    with tarfile.open(place / "00000.tar", "w") as archive:
        for path in sorted(loose.glob("*.png")):
            archive.add(path, path.name)
    return place


FORMS = [as_parquet, as_saved, as_saved_splits, as_zip, as_tar]


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_of_a_dataset_is_read(
    scenes: datasets.Dataset, tmp_path: Path, form: Callable[..., Path]
) -> None:
    assert torch.equal(load_pictures(form(scenes, tmp_path / "mine"), 16), SCENES)


@pytest.mark.parametrize("form", [as_parquet, as_zip, as_tar])
def test_one_file_of_a_dataset_is_read(
    scenes: datasets.Dataset, tmp_path: Path, form: Callable[..., Path]
) -> None:
    (file,) = form(scenes, tmp_path / "mine").iterdir()
    assert torch.equal(load_pictures(file, 16), SCENES)


def test_another_file_is_refused_with_what_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a\.png is a file, not a folder of pictures.*\.parquet"):
        load_pictures(tmp_path / "a.png", 16)


def test_pictures_beside_a_dataset_are_passed_over_and_said(
    scenes: datasets.Dataset, tmp_path: Path
) -> None:
    place = as_parquet(scenes, tmp_path / "mine")
    Image.new("RGB", (16, 16)).save(place / "banner.png")
    with pytest.warns(UserWarning, match="holds a dataset: 1 pictures beside it are passed over"):
        assert len(load_pictures(place, 16)) == 3


def test_an_archive_beside_its_pictures_is_not_read_again(tmp_path: Path) -> None:
    place = export_imagefolder(tmp_path / "mine", range(2), subset="flowers", image_size=16)
    with zipfile.ZipFile(place / "all.zip", "w") as archive:
        archive.write(place / "scene-000000.png", "scene-000000.png")
    with pytest.warns(UserWarning, match=r"Passed over: \.zip files \(1\)"):
        assert len(load_pictures(place, 16)) == 2


def test_a_split_can_be_chosen(scenes: datasets.Dataset, tmp_path: Path) -> None:
    place = as_saved_splits(scenes, tmp_path / "mine")
    assert len(load_pictures(place, 16, split="test")) == 1
    with pytest.raises(ValueError, match=r"no split valid, only train, test: .* dataset_split"):
        load_pictures(place, 16, split="valid")


def test_the_only_split_is_used_and_said(scenes: datasets.Dataset, tmp_path: Path) -> None:
    datasets.DatasetDict(test=scenes).save_to_disk(tmp_path / "mine")
    with pytest.warns(UserWarning, match="one split only, test: it is used"):
        assert len(load_pictures(tmp_path / "mine", 16)) == 3


def test_a_configuration_has_to_be_chosen(scenes: datasets.Dataset, tmp_path: Path) -> None:
    for name, count in (("a", 3), ("b", 1)):
        (tmp_path / "mine" / name).mkdir(parents=True)
        scenes.select(range(count)).to_parquet(tmp_path / "mine" / name / "part.parquet")
    (tmp_path / "mine" / "README.md").write_text(
        "---\nconfigs:\n- config_name: a\n  data_files: a/*.parquet\n"
        "- config_name: b\n  data_files: b/*.parquet\n---\n"
    )
    for wrong in (None, "c"):
        with pytest.raises(ValueError, match=r"configurations are a, b: .* dataset_config_name"):
            load_pictures(tmp_path / "mine", 16, config_name=wrong)
    assert len(load_pictures(tmp_path / "mine", 16, config_name="b")) == 1


def test_a_card_that_names_the_readers_own_files_is_refused(
    scenes: datasets.Dataset, tmp_path: Path
) -> None:
    private = as_parquet(scenes, tmp_path / "private")
    place = as_parquet(scenes, tmp_path / "mine")
    for named in (f"{private}/*.parquet", "../private/*.parquet"):
        (place / "README.md").write_text(
            f"---\nconfigs:\n- config_name: default\n  data_files: '{named}'\n---\n"
        )
        with pytest.raises(ValueError, match=r"its card names .*, which is no file of the dataset"):
            load_pictures(place, 16)


def test_a_damaged_dataset_is_a_sentence(scenes: datasets.Dataset, tmp_path: Path) -> None:
    place = as_parquet(scenes, tmp_path / "mine")
    (file,) = place.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"^The dataset .*mine cannot be used \(.*fetch it anew"):
        load_pictures(place, 16)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".tar", ".zip", ".json", ".csv"])
def test_an_empty_file_of_a_dataset_is_a_sentence_and_nothing_else(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"a{suffix}").write_bytes(b"")
    for place in (tmp_path, tmp_path / f"a{suffix}"):
        with pytest.raises(ValueError, match=r"cannot be used \(.*see to it that its files are"):
            load_pictures(place, 16)
    assert "rror" not in capfd.readouterr().err


def test_a_dataset_without_rows_says_so_and_an_empty_split_is_left_out(
    scenes: datasets.Dataset, tmp_path: Path
) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    scenes.select([]).to_parquet(place / "test.parquet")
    with pytest.raises(ValueError, match="has no rows"):
        load_pictures(place, 16)
    scenes.to_parquet(place / "train.parquet")
    assert torch.equal(load_pictures(place, 16), SCENES)


@pytest.mark.parametrize("name", ["[2020]", "a*", "a?", "a::b"])
def test_a_name_that_the_library_misreads_is_named_and_pictures_there_are_read(
    scenes: datasets.Dataset, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / name / "a.png")
    assert len(load_pictures(tmp_path / name, 16)) == 1
    place = as_parquet(scenes, tmp_path / "mine").rename(tmp_path / name / "mine")
    for given in (place, *place.iterdir()):
        with pytest.raises(ValueError, match=r"its path holds (\[|\*|\?|::), .*; rename that"):
            load_pictures(given, 16)


@pytest.mark.parametrize("suffix", [".PARQUET", ".Tar", ".ZIP"])
def test_a_suffix_in_capitals_is_read_alone_and_named_in_a_folder(
    scenes: datasets.Dataset, tmp_path: Path, suffix: str
) -> None:
    form = {".parquet": as_parquet, ".tar": as_tar, ".zip": as_zip}[suffix.lower()]
    (file,) = form(scenes, tmp_path / "mine").iterdir()
    file = file.rename(file.with_suffix(suffix))
    assert torch.equal(load_pictures(file, 16), SCENES)
    with pytest.raises(ValueError, match=rf"ends in {suffix}: call it {suffix.lower()}, in small"):
        load_pictures(file.parent, 16)


@pytest.mark.parametrize("beside", ["LABELS.CSV", "NOTES.JSON"])
def test_a_table_in_capitals_beside_the_rows_does_not_matter(
    scenes: datasets.Dataset, tmp_path: Path, beside: str
) -> None:
    place = as_parquet(scenes, tmp_path / "mine")
    (place / beside).write_text("{}")
    assert torch.equal(load_pictures(place, 16), SCENES)


@pytest.mark.parametrize(
    ("notes", "sentence"),
    [
        ({"dataset_dict.json": {}}, r"dataset_dict\.json .*splits: field required"),
        ({"dataset_dict.json": {"splits": []}}, "it holds no data"),
        ({"dataset_dict.json": {"splits": [5]}}, r"splits\.0: input should be a valid string"),
        ({"dataset_dict.json": {"splits": ["gone"]}}, "its file gone is missing"),
        ({"dataset_info.json": {}, "state.json": []}, r"state\.json .*should be an object"),
        ({"dataset_info.json": {}, "state.json": {"_data_files": None}}, "should be a valid array"),
        (
            {"dataset_info.json": {}, "state.json": {"_data_files": [{"filename": "a.arrow"}]}},
            r"its file a\.arrow is missing: copy or fetch it anew",
        ),
    ],
)
def test_notes_of_a_saved_dataset_that_are_not_right_are_a_sentence(
    tmp_path: Path, notes: dict[str, object], sentence: str
) -> None:
    for name, note in notes.items():
        (tmp_path / name).write_text(json.dumps(note))
    with pytest.raises(ValueError, match=rf"^The dataset .* cannot be used.*{sentence}"):
        load_pictures(tmp_path, 16)


def test_of_a_datasets_place_in_the_cache_one_version_is_read(
    scenes: datasets.Dataset, tmp_path: Path
) -> None:
    storage = tmp_path / "datasets--me--flowers"
    (storage / "blobs").mkdir(parents=True)
    for version, rows in (("a" * 40, [0, 1, 2]), ("b" * 40, [0])):
        data = storage / "snapshots" / version / "data"
        data.mkdir(parents=True)
        scenes.select(rows).to_parquet(storage / "blobs" / version)
        (data / "train.parquet").symlink_to(storage / "blobs" / version)
    for place in (storage, storage / "snapshots"):
        with pytest.raises(ValueError, match="holds 2 versions of a dataset: give one of them"):
            load_pictures(place, 16)
    (storage / "refs").mkdir()
    (storage / "refs" / "main").write_text("a" * 40)
    for place in (storage, storage / "snapshots", storage / "snapshots" / ("a" * 40) / "data"):
        assert torch.equal(load_pictures(place, 16), SCENES)


def table(tmp_path: Path, *rows: object) -> Path:
    """Rows as a stranger writes them: a parquet file that says it has a column of pictures."""
    place = tmp_path / "mine"
    place.mkdir()
    features = datasets.Features(
        {"image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
    )
    plain = datasets.Dataset.from_dict({"image": list(rows)}, features=features)
    arrow = plain.data.table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})}
    )
    import pyarrow.parquet

    pyarrow.parquet.write_table(arrow, place / "train.parquet")
    return place


@pytest.fixture
def private(tmp_path: Path) -> Path:
    Image.new("RGB", (16, 16)).save(tmp_path / "private.png")
    return tmp_path / "private.png"


@pytest.mark.parametrize("way", ["plain", "link", "dots", "zip", "url"])
def test_a_row_that_names_the_readers_own_file_is_a_bad_picture(
    tmp_path: Path, private: Path, way: str
) -> None:
    named = {
        "plain": str(private),
        "link": str(tmp_path / "mine" / "link.png"),
        "dots": str(tmp_path / "mine" / ".." / "private.png"),
        "zip": f"zip://private.png::{tmp_path}/private.zip",
        "url": "http://127.0.0.1:9/private.png",
    }[way]
    place = table(tmp_path, {"bytes": None, "path": named})
    (place / "link.png").symlink_to(private)
    with zipfile.ZipFile(tmp_path / "private.zip", "w") as archive:
        archive.write(private, "private.png")
    with pytest.raises(ValueError, match=r"row 0, names the file .* none of the dataset's"):
        load_pictures(as_dataset(place), 16)


def as_dataset(place: Path) -> Path:
    return place / "train.parquet"


def test_a_member_of_an_archive_that_is_too_large_is_not_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "mine" / "a.zip"
    place = table(tmp_path, {"bytes": None, "path": f"zip://a.png::{archive}"})
    with (
        zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
        packed.open("a.png", "w") as member,
    ):
        for _ in range(257):
            member.write(bytes(2**20))
    with pytest.raises(ValueError, match="row 0, names a file of more than 268,435,456 bytes"):
        load_pictures(place, 16)


def test_a_row_that_names_a_file_of_the_datasets_own_is_read(tmp_path: Path) -> None:
    own = tmp_path / "mine" / "own.png"
    place = table(tmp_path, {"bytes": None, "path": str(own)})
    Image.new("RGB", (16, 16), "white").save(own)
    assert load_pictures(as_dataset(place), 16).unique().tolist() == [255]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_a_row_that_names_a_pipe_does_not_hang(tmp_path: Path) -> None:
    place = table(tmp_path, {"bytes": None, "path": str(tmp_path / "mine" / "pipe")})
    os.mkfifo(place / "pipe")
    with pytest.raises(ValueError, match="row 0, is no file but a folder, a pipe"):
        load_pictures(as_dataset(place), 16)


@pytest.mark.parametrize("way", ["data:image/png;base64,AAAA", "/dev/zero", "/dev/stdin", "", "."])
def test_a_row_that_names_no_file_of_the_dataset_is_a_bad_picture(tmp_path: Path, way: str) -> None:
    named = way if way.startswith(("data:", "/")) else str(tmp_path / "mine" / way)
    with pytest.raises(ValueError, match=r"row 0, (names the file .* none of the|is no file but)"):
        load_pictures(as_dataset(table(tmp_path, {"bytes": None, "path": named})), 16)


@pytest.mark.parametrize("row", [None, {"bytes": None, "path": None}, {"bytes": b"", "path": ""}])
def test_a_row_without_a_picture_is_named(tmp_path: Path, row: object) -> None:
    with pytest.raises(ValueError, match="row 0, holds no picture"):
        load_pictures(as_dataset(table(tmp_path, row)), 16)


def test_bad_rows_are_left_out_and_named_on_request(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "good.png")
    good = {"bytes": (tmp_path / "good.png").read_bytes(), "path": None}
    place = table(tmp_path, good, {"bytes": b"no picture", "path": None}, None)
    with pytest.warns(UserWarning, match=r"Left out 2 of 3 .*row 1, is no picture.*row 2, holds"):
        assert len(load_pictures(as_dataset(place), 16, on_bad="skip")) == 1


def test_a_dataset_gives_its_pictures_one_by_one(scenes: datasets.Dataset, tmp_path: Path) -> None:
    named = list(named_pictures(scenes, "mine", [tmp_path]))
    assert [name for name, _ in named] == ["mine, row 0,", "mine, row 1,", "mine, row 2,"]
    assert torch.equal(to_square(open_picture(named[1][1](), "it"), 16), SCENES[1])


def test_a_dataset_without_pictures_is_an_error(tmp_path: Path) -> None:
    texts = datasets.Dataset.from_dict({"caption": ["a cat"], "number": [1]})
    with pytest.raises(ValueError, match="no column of pictures, only: caption, number"):
        named_pictures(texts, "mine", [tmp_path])


def test_of_two_columns_of_pictures_the_first_is_used_and_said(
    scenes: datasets.Dataset, tmp_path: Path
) -> None:
    other = scenes.select_columns("image").rename_column("image", "mask")
    two = datasets.concatenate_datasets([scenes, other], axis=1)
    with pytest.warns(UserWarning, match=r"of the column image are used, not: .*mask"):
        named_pictures(two, "mine", [tmp_path])


def test_offline_the_sentence_says_so_and_not_that_the_name_is_wrong() -> None:
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE forbids") as caught:
        hub_dataset("my/flowers")
    assert "check the name" not in str(caught.value)


@pytest.mark.parametrize("name", ["a/b/c", "no such folder", "http://a.b/c", "\x1b[31m"])
def test_what_is_no_id_is_not_asked_for(name: str) -> None:
    with pytest.raises(FileNotFoundError, match="neither a folder here nor the id of a dataset"):
        load_pictures(name, 16)


def test_what_was_fetched_is_used_offline_by_id_and_by_folder(
    scenes: datasets.Dataset, tmp_path: Path
) -> None:
    storage, commit = tmp_path / "hub" / "datasets--me--flowers", "a" * 40
    (storage / "refs").mkdir(parents=True)
    (storage / "refs" / "main").write_text(commit)
    (storage / "blobs").mkdir()
    scenes.to_parquet(tmp_path / "scenes.parquet")
    content = (tmp_path / "scenes.parquet").read_bytes()
    blob = storage / "blobs" / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    (storage / "snapshots" / commit / "data").mkdir(parents=True)
    place = storage / "snapshots" / commit / "data" / "train-00000-of-00001.parquet"
    place.symlink_to(blob)
    assert torch.equal(load_pictures("me/flowers", 16), SCENES)
    assert torch.equal(load_pictures(storage / "snapshots" / commit, 16), SCENES)


@pytest.mark.slow
def test_a_mirror_gets_no_token(scenes: datasets.Dataset, tmp_path: Path) -> None:
    as_parquet(scenes, tmp_path / "flowers")
    (tmp_path / "repos" / "datasets" / "me").mkdir(parents=True)
    (tmp_path / "flowers").rename(tmp_path / "repos" / "datasets" / "me" / "flowers")
    script = (
        "from companion.training import load_pictures\n"
        "from huggingface_hub import HfApi\n"
        "assert len(load_pictures('me/flowers', 16)) == 3\n"
        "HfApi(token='hf_asked').dataset_info('me/flowers')"
    )
    heard: list[str | None] = []

    class Listening(LocalHub):
        def answer(self, request: Request) -> Answer:
            heard.append(request.headers.get("authorization"))
            return super().answer(request)

    with Listening(tmp_path / "repos") as hub:
        variables = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path), "HF_TOKEN": "hf_secret"}
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **variables, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"},
            check=True,
        )
    assert len(heard) > 5
    assert {token for token in heard if token} == {"Bearer hf_asked"}


def test_a_host_that_is_not_there_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(FileNotFoundError, match=r"127\.0\.0\.1:9 .*; check the network"):
        load_pictures("me/flowers", 16)


def test_a_saved_dataset_that_names_the_readers_own_files_is_refused(
    scenes: datasets.Dataset, tmp_path: Path
) -> None:
    as_saved(scenes, tmp_path / "mine")
    place = as_saved(scenes, tmp_path / "theirs")
    note = json.loads((place / "state.json").read_text())
    note["_data_files"] = [{"filename": "../mine/data-00000-of-00001.arrow"}]
    (place / "state.json").write_text(json.dumps(note))
    with pytest.raises(ValueError, match=r"names \.\./mine/.*, which is no file of the dataset"):
        load_pictures(place, 16)
    splits = tmp_path / "splits"
    splits.mkdir()
    (splits / "dataset_dict.json").write_text('{"splits": ["../mine"]}')
    with pytest.raises(ValueError, match=r"names \.\./mine, which is no file of the dataset"):
        load_pictures(splits, 16)


def test_a_card_that_names_an_address_is_refused_in_the_working_folder_too(
    scenes: datasets.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_parquet(scenes, tmp_path / "mine")
    place = as_parquet(scenes, tmp_path / "theirs")
    named = f"local://{tmp_path}/mine/train-00000-of-00001.parquet"
    card = f"---\nconfigs:\n- config_name: default\n  data_files: {named}\n---\n"
    (place / "README.md").write_text(card)
    monkeypatch.chdir(place)
    with pytest.raises(ValueError, match="which is no file of the dataset"):
        load_pictures(".", 16)


def test_a_snapshot_is_read_through_a_link_and_as_the_working_folder(
    scenes: datasets.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "datasets--me--flowers"
    snapshot = storage / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    scenes.to_parquet(storage / "blob")
    (snapshot / "train.parquet").symlink_to(storage / "blob")
    (tmp_path / "link").symlink_to(snapshot)
    assert torch.equal(load_pictures(tmp_path / "link", 16), SCENES)
    monkeypatch.chdir(snapshot)
    assert torch.equal(load_pictures(".", 16), SCENES)
