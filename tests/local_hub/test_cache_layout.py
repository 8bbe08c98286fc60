"""The names in the cache of the hub's library."""

from pathlib import Path

import pytest
from huggingface_hub.file_download import repo_folder_name

from companion.local_hub.cache_layout import snapshot_of, storage_name


@pytest.mark.parametrize("repo_type", ["model", "dataset"])
@pytest.mark.parametrize("repo_id", ["google/ddpm-cat-256", "gpt2", "a-b/c.d_e"])
def test_a_repositorys_folder_is_called_as_the_library_calls_it(
    repo_type: str, repo_id: str
) -> None:
    name = storage_name(repo_type, repo_id)
    assert name == repo_folder_name(repo_id=repo_id, repo_type=repo_type)
    snapshot = Path("/cache", name, "snapshots", "c0ffee")
    assert snapshot_of(snapshot) == (repo_type, repo_id, "c0ffee")
    assert snapshot_of(snapshot / "unet" / "config.json") == (repo_type, repo_id, "c0ffee")


@pytest.mark.parametrize(
    "path",
    ["/models--a--b/refs/main", "/work/snapshots/c0ffee", "/models--a--b/snapshots", "model", ""],
)
def test_what_lies_elsewhere_is_none(path: str) -> None:
    assert snapshot_of(Path(path)) is None
