"""A folder as the hub sees it."""

from pathlib import Path

import pytest

from companion.door import Commit
from companion.local_hub.repository import find


@pytest.mark.parametrize("note", [b"", b"\xff../x", b"main\n"])
def test_a_note_of_hf_download_that_names_no_commit_is_passed_over(
    tmp_path: Path, note: bytes
) -> None:
    noted = tmp_path / "me/model/.cache/huggingface/download/x.metadata"
    noted.parent.mkdir(parents=True)
    noted.write_bytes(note)
    found = find(tmp_path, "model", "me/model")
    assert found
    assert Commit(found.commit)


def test_what_is_no_snapshot_in_a_cache_is_passed_over(tmp_path: Path) -> None:
    snapshots = tmp_path / "models--me--model" / "snapshots"
    snapshots.mkdir(parents=True)
    (snapshots / "gone").symlink_to("nowhere")
    (snapshots / "note.txt").touch()
    assert find(tmp_path, "model", "me/model") is None
