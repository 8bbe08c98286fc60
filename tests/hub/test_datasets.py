"""Every way to a dataset that the book shows, with the real `datasets`."""

import sys
from pathlib import Path
from typing import Any

import pytest

from faulty_hub import DATASET, FaultyHub, Shell

PARQUET = "data/train-00000-of-00001.parquet"
LOAD = f"""
from datasets import load_dataset
data = load_dataset("{DATASET}", split="train")
print(data.num_rows, data[3]["image"].getpixel((0, 0)))
"""
SIX = "6 (120, 0, 0)"


@pytest.fixture
def python(shell: Shell) -> Any:
    """Runs lines in a Python of their own, as a reader's notebook would; answers the last line."""

    def run(lines: str, **variables: str) -> str:
        done = shell(sys.executable, "-c", lines, **variables)
        assert done.returncode == 0, done.stderr
        return str(done.stdout.splitlines()[-1])

    return run


@pytest.mark.slow
def test_through_the_endpoint_then_offline_from_the_cache(hub: FaultyHub, python: Any) -> None:
    assert python(LOAD) == SIX
    assert len(hub.requests("files")) == 1
    assert any("authorization" in request.headers for request in hub.heard)  # from HF_TOKEN
    hub.log.clear()
    assert python(LOAD, HF_HUB_OFFLINE="1") == SIX
    assert hub.log == []


@pytest.mark.slow
def test_download_mode_reuse_is_the_default_and_force_redownload_fetches_again(
    hub: FaultyHub, python: Any
) -> None:
    """What the notes' `download_mode` does."""
    modes = ["", ', download_mode="reuse_dataset_if_exists"', ', download_mode="force_redownload"']
    once = [LOAD.replace(', split="train"', f', split="train"{mode}') for mode in modes]
    assert python("".join(once[:2])) == SIX
    assert len(hub.requests("files")) == 1
    assert python(once[2]) == SIX
    assert len(hub.requests("files")) == 2


def test_a_cut_in_the_parquet_file_is_survived(hub: FaultyHub, python: Any) -> None:
    hub.cut(after=500)
    assert python(LOAD) == SIX
    assert len(hub.requests("files")) == 2


def test_a_parquet_file_is_read_directly(hub: FaultyHub, python: Any, repositories: Path) -> None:
    url = f"{hub.address}/datasets/{DATASET}/resolve/main/{PARQUET}"
    file = repositories / "datasets" / DATASET / PARQUET
    lines = LOAD.replace(f'"{DATASET}"', f'"parquet", data_files="{file}"')
    assert python(f"import pandas\nassert len(pandas.read_parquet('{url}')) == 6\n{lines}") == SIX
    assert len(hub.log) == 2


def test_a_folder_of_pictures_is_a_dataset(python: Any, shell: Shell) -> None:
    from PIL import Image

    folder = shell.folder / "flowers" / "rose"
    folder.mkdir(parents=True)
    for number in range(6):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(folder / f"{number}.png")
    lines = LOAD.replace(f'"{DATASET}"', '"imagefolder", data_dir="flowers"')
    assert python(lines, HF_HUB_OFFLINE="1") == SIX


def test_with_a_slash_at_the_end_of_the_endpoint_the_library_asks_for_two(
    hub: FaultyHub, shell: Shell, python: Any
) -> None:
    """Why `clashes` calls it a fault."""
    lines = "import datasets\nprint(datasets.config.HUB_DATASETS_URL)"
    assert python(lines, HF_ENDPOINT=f"{hub.address}/").startswith(f"{hub.address}//datasets")
