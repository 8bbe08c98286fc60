"""The hub on this machine: what its clients read from it."""

from pathlib import Path
from typing import Any

import pytest

from faulty_hub import DATASET, MODEL, WEIGHTS, FaultyHub, Shell


@pytest.fixture
def api(hub: FaultyHub, cache: Path) -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=hub.address, token=False)


def test_information_names_commit_and_files(hub: FaultyHub, api: Any) -> None:
    info = api.model_info(MODEL)
    assert info.sha == hub.commits[MODEL]
    assert WEIGHTS in [sibling.rfilename for sibling in info.siblings]
    assert api.dataset_info(DATASET).sha == api.dataset_info(DATASET, revision="main").sha


def test_sums_are_those_of_git(hub: FaultyHub, api: Any, shell: Shell) -> None:
    folder = hub.folder / MODEL
    listed = {entry.path: entry.blob_id for entry in api.list_repo_tree(MODEL)}
    counted = shell("git", "hash-object", "--no-filters", str(folder / "config.json"))
    assert listed["config.json"] == counted.stdout.strip()
    pointer = shell(
        "bash",
        "-c",
        'git lfs pointer --file="$1" 2>/dev/null | git hash-object --stdin',
        "bash",
        str(folder / WEIGHTS),
    )
    if shell("git-lfs", "version").returncode == 0:
        assert listed[WEIGHTS] == pointer.stdout.strip()


def test_the_tree_has_folders_and_can_be_deep(api: Any) -> None:
    top = [entry.path for entry in api.list_repo_tree(DATASET, repo_type="dataset")]
    assert top == ["README.md", "data"]
    deep = api.list_repo_tree(DATASET, repo_type="dataset", recursive=True)
    assert "data/train-00000-of-00001.parquet" in [entry.path for entry in deep]
    below = api.list_repo_tree(DATASET, "data", repo_type="dataset")
    assert [entry.path for entry in below] == ["data/train-00000-of-00001.parquet"]


def test_paths_are_told_apart(api: Any) -> None:
    entries = api.get_paths_info(DATASET, ["README.md", "data", "none"], repo_type="dataset")
    assert {entry.path: type(entry).__name__ for entry in entries} == {
        "README.md": "RepoFile",
        "data": "RepoFolder",
    }


def test_refs_name_the_commit(hub: FaultyHub, api: Any) -> None:
    (main,) = api.list_repo_refs(MODEL).branches
    assert main.target_commit == hub.commits[MODEL]


def test_a_large_file_is_elsewhere_and_a_small_one_is_not(hub: FaultyHub, shell: Shell) -> None:
    url = f"{hub.address}/{MODEL}/resolve/main"
    ask = ["curl", "--silent", "--head", "--output", "-", "--write-out", "%{http_code}"]
    assert shell(*ask, f"{url}/config.json").stdout.endswith("200")
    headers = shell(*ask, f"{url}/{WEIGHTS}").stdout
    assert headers.endswith("302")
    assert f"Location: {hub.files_address}/" in headers
    assert "X-Linked-Size: 1000000" in headers
    assert f"X-Repo-Commit: {hub.commits[MODEL]}" in headers


def test_the_log_reads_the_same_in_every_run(hub: FaultyHub, shell: Shell) -> None:
    url = f"{hub.address}/{MODEL}/resolve/main/{WEIGHTS}"
    shell("curl", "--silent", "--location", "--range", "10-", "--output", "part", url)
    first, second = map(str, hub.log)
    assert first == f"hub   GET  /{MODEL}/resolve/main/{WEIGHTS} [bytes=10-]: 302, on to localhost"
    assert second.startswith("files GET  /")
    assert second.endswith(f"/{WEIGHTS} [bytes=10-]: 206, 999,990 bytes")


@pytest.mark.parametrize(
    ("asked", "status", "bytes_"),
    [("0-9", 206, 10), ("999990-", 206, 10), ("999990-2000000", 206, 10), ("1000000-", 416, 0)],
)
def test_ranges_are_served(
    hub: FaultyHub, shell: Shell, asked: str, status: int, bytes_: int
) -> None:
    url = f"{hub.address}/{MODEL}/resolve/main/{WEIGHTS}"
    done = shell("curl", "--silent", "--location", "--range", asked, "--output", "part",
                 "--write-out", "%{http_code} %{size_download}", url)  # fmt: skip
    assert done.stdout == f"{status} {bytes_}"


def test_what_is_not_there_is_said_as_the_hub_says_it(api: Any) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    with pytest.raises(RepositoryNotFoundError):
        api.model_info("someone/unknown")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(MODEL, revision="0" * 40)
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(MODEL, "none.json", endpoint=api.endpoint, token=False)


def test_a_path_out_of_the_folder_is_not_served(hub: FaultyHub, shell: Shell) -> None:
    url = f"{hub.address}/{MODEL}/resolve/main/..%2f..%2f..%2f..%2fetc%2fpasswd"
    done = shell("curl", "--silent", "--path-as-is", "--write-out", "%{http_code}", url)
    assert done.stdout.endswith("404")
    for away in ("..%2f..", "google/..", "../google"):
        url = f"{hub.address}/api/models/{away}/tree/main"
        done = shell("curl", "--silent", "--path-as-is", "--write-out", "%{http_code}", url)
        assert done.stdout.endswith("404")


def test_what_hf_download_left_is_served_at_its_commit(
    hub: FaultyHub, api: Any, shell: Shell, tmp_path: Path
) -> None:
    from companion.local_hub import LocalHub

    assert (
        shell("hf", "download", MODEL, "--local-dir", str(tmp_path / "usb" / MODEL)).returncode == 0
    )
    with LocalHub(tmp_path / "usb") as second:
        from huggingface_hub import HfApi

        assert (
            HfApi(endpoint=second.address, token=False).model_info(MODEL).sha == hub.commits[MODEL]
        )


def test_a_cache_is_served_too(hub: FaultyHub, api: Any, shell: Shell) -> None:
    from huggingface_hub import HfApi

    from companion.local_hub import LocalHub

    assert shell("hf", "download", MODEL, WEIGHTS).returncode == 0
    with LocalHub(Path(shell.environment["HF_HOME"]) / "hub") as second:
        info = HfApi(endpoint=second.address, token=False).model_info(MODEL)
    assert (info.sha, [s.rfilename for s in info.siblings]) == (hub.commits[MODEL], [WEIGHTS])
