"""What `fetch` calls whole is right: after damage on the disk, and after hosts that lied."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from companion.cli import main
from companion.hub import HubError, fetch
from companion.hub.stock import Checked
from faulty_hub import COMMIT, MODEL, WEIGHTS, FaultyHub


@pytest.fixture
def get(hub: FaultyHub, cache: Path) -> Callable[..., Path]:
    """Fetches the whole model at its commit; answers with its folder."""
    return lambda **options: fetch(
        f"{MODEL}@{COMMIT}", **{"where": hub.address, "progress": False, **options}
    )[MODEL]


def flip(path: Path, *, time_too: bool = True) -> None:
    """Turn one bit of a file, as a disk does, or with `time_too` as a program does."""
    file = path.resolve()
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    if not time_too:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_bit_that_flips_in_a_fetched_file_is_mended_by_the_next_fetch(
    hub: FaultyHub, get: Any, repositories: Path, name: str
) -> None:
    flip(get() / name)
    assert (get() / name).read_bytes() == (repositories / MODEL / name).read_bytes()


def test_a_bit_that_flips_without_a_trace_is_found_when_all_is_compared(
    hub: FaultyHub, get: Any, weights: bytes
) -> None:
    flip(get() / WEIGHTS, time_too=False)
    assert (get(verify=True) / WEIGHTS).read_bytes() == weights


def test_damage_is_said_in_the_plan_and_offline_it_is_one_sentence(
    hub: FaultyHub, get: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(get() / WEIGHTS)
    what = f"{MODEL}@{COMMIT}"
    assert main(["fetch", what, "--endpoint", hub.address, "--plan"]) == 0
    assert f"Damaged or changed since they were fetched: {WEIGHTS}" in capsys.readouterr().out
    assert main(["fetch", what, "--endpoint", "offline"]) == 1
    assert f"{WEIGHTS} is damaged, or was changed: choose an endpoint" in capsys.readouterr().err


def test_verify_says_that_all_is_right(
    hub: FaultyHub, get: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    get()
    what = f"{MODEL}@{COMMIT}"
    assert main(["fetch", what, "--endpoint", hub.address, "--verify"]) == 0
    assert "here already" in capsys.readouterr().out
    assert hub.sent() == 1_000_000


def test_a_settings_file_that_the_reader_changed_is_kept_beside(get: Any, cache: Path) -> None:
    (get() / "config.json").write_text("mine")
    assert (get() / "config.json").read_text() != "mine"
    assert [p.read_text() for p in cache.glob("*/companion/changed/*")] == ["mine"]


def test_what_the_library_fetched_is_compared_too(
    hub: FaultyHub, get: Any, cache: Path, weights: bytes
) -> None:
    from huggingface_hub import snapshot_download

    found = snapshot_download(
        MODEL, revision=COMMIT, cache_dir=cache, endpoint=hub.address, token=False
    )
    flip(Path(found) / WEIGHTS)
    assert (get() / WEIGHTS).read_bytes() == weights


def test_what_was_compared_is_not_read_again(get: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    get()
    monkeypatch.setattr("companion.hub.stock.digest", None)
    get()


def test_copies_in_place_of_links_are_whole_too(get: Any, hub: FaultyHub) -> None:
    """As on Windows, where making links takes an administrator."""
    folder = get()
    for path in folder.iterdir():
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    hub.log.clear()
    assert get() == folder
    assert hub.log == []


def test_without_links_the_files_are_copies(
    get: Any, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    file = get() / WEIGHTS
    assert not file.is_symlink()
    assert file.read_bytes() == weights


@pytest.mark.parametrize("line", ["", "x", "../../x 1 1", "0 0 0", "\0" * 100, "9" * 200])
def test_a_note_of_what_was_compared_that_is_none_is_passed_over(
    get: Any, cache: Path, weights: bytes, line: str
) -> None:
    flip(get() / WEIGHTS)
    (note,) = cache.glob("*/companion/checked")
    note.write_text(line)
    assert (get() / WEIGHTS).read_bytes() == weights


def lie(name: str, **about: Any) -> Callable[[dict[str, Any]], None]:
    """A listing that says something else of one file."""

    def change(told: dict[str, Any]) -> None:
        for sibling in told["siblings"]:
            if sibling["rfilename"] == name:
                sibling.update(about)

    return change


def leave_out(told: dict[str, Any]) -> None:
    """A listing of one file where there are more."""
    told["siblings"] = [s for s in told["siblings"] if s["rfilename"] == "config.json"]


@pytest.mark.parametrize(
    "change",
    [
        lie(WEIGHTS, lfs={"sha256": "0" * 64}),
        lie("config.json", blobId="0" * 40),
        lie(WEIGHTS, size=10),
        lie(WEIGHTS, size=2_000_000),
        leave_out,
    ],
)
def test_what_one_host_lied_of_a_commit_the_next_host_is_asked(
    hub: FaultyHub, get: Any, repositories: Path, weights: bytes, change: Any
) -> None:
    with type(hub)(repositories, hub.commits) as liar:
        liar.tell(change)
        try:
            get(where=liar.address)
        except HubError as error:
            assert "take another endpoint" in str(error)  # noqa: PT017
    folder = get()
    assert (folder / WEIGHTS).read_bytes() == weights
    assert (folder / "model_index.json").is_file()


def test_a_host_that_lied_and_then_does_not_is_asked_again(
    hub: FaultyHub, get: Any, weights: bytes
) -> None:
    hub.tell(lie(WEIGHTS, lfs={"sha256": "0" * 64}), times=1)
    with pytest.raises(HubError, match="damaged, twice"):
        get()
    assert (get() / WEIGHTS).read_bytes() == weights


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_a_wrong_size_of_what_is_here_costs_nothing_that_is_right(
    hub: FaultyHub, get: Any, repositories: Path, weights: bytes, size: int
) -> None:
    folder = get()
    with type(hub)(repositories, hub.commits) as liar:
        liar.tell(lie(WEIGHTS, size=size))
        with pytest.raises(HubError, match="is right, but the endpoint tells"):
            get(where=liar.address)
    assert (folder / WEIGHTS).read_bytes() == weights


def test_with_the_other_host_down_what_is_here_is_enough(hub: FaultyHub, get: Any) -> None:
    folder = get()
    assert get(where="http://127.0.0.1:9") == folder


def test_a_branch_that_moves_between_listing_and_file_gives_the_listed_files(
    hub: FaultyHub, cache: Path, weights: bytes
) -> None:
    hub.add_headers({"X-Repo-Commit": "b" * 40})
    folder = fetch(f"{MODEL}@main", where=hub.address, progress=False)[MODEL]
    assert folder.name == COMMIT
    assert (folder / WEIGHTS).read_bytes() == weights
    assert (folder.parents[1] / "refs/main").read_text() == COMMIT


def test_a_version_that_is_gone_meanwhile_is_one_sentence(hub: FaultyHub, cache: Path) -> None:
    hub.tell(lambda told: told.update(sha="b" * 40))
    with pytest.raises(HubError, match="to a newer version meanwhile: run the same command"):
        fetch(f"{MODEL}@main", where=hub.address, progress=False)


def test_a_name_of_an_endpoint_is_the_endpoint_whatever_folder_is_here(
    hub: FaultyHub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from companion.hub.fetch import opened

    (tmp_path / "official").mkdir()
    monkeypatch.chdir(tmp_path)
    with opened("official") as endpoint:
        assert endpoint.official


def test_two_files_of_one_content_are_checked_by_one_line(tmp_path: Path) -> None:
    from companion.door import Checksum, RepositoryPath, Size
    from companion.hub.listing import Remote

    # `printf 'hello\n' | git hash-object --stdin`
    etag = Checksum("ce013625030ba8dba906f756967f9e9ca394464a")
    remote = Remote(RepositoryPath("a"), Size(6), etag)
    (tmp_path / "a").write_bytes(b"hello\n")
    assert Checked(tmp_path).is_right(tmp_path / "a", remote)
    assert len((tmp_path / "companion/checked").read_text().splitlines()) == 1
    assert Checked(tmp_path).is_right(tmp_path / "a", remote)
    assert len((tmp_path / "companion/checked").read_text().splitlines()) == 1


def refuse_to_write(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied", "companion")


def test_what_is_here_in_a_cache_that_can_only_be_read_is_enough(
    get: Any, hub: FaultyHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a class shares one, filled by the hub's library."""
    from huggingface_hub import snapshot_download

    snapshot_download(MODEL, cache_dir=cache, endpoint=hub.address, token=False)
    for where in ("companion.hub.notes.replace", "companion.hub.stock.append_to"):
        monkeypatch.setattr(where, refuse_to_write)
    assert (get() / WEIGHTS).is_file()
    assert fetch(f"{MODEL}@main", where=hub.address, progress=False)[MODEL] == get()
    assert not list(cache.glob("*/companion/*"))


def test_a_folder_of_locks_that_is_somebody_elses_is_one_sentence(
    get: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Path.mkdir

    def mkdir(self: Path, *arguments: Any, **named: Any) -> None:
        if ".locks" in self.parts:
            raise PermissionError(13, "Permission denied", str(self))
        honest(self, *arguments, **named)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(HubError, match=r"\.locks/.* cannot be written: set HF_HOME to a folder"):
        get()


def test_no_password_is_printed_or_noted(
    hub: FaultyHub, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = hub.address.replace("//", "//reader:SECRET@")
    assert main(["fetch", MODEL, "--endpoint", address]) == 0
    assert main(["fetch", f"{MODEL}@{'0' * 40}", "--endpoint", address]) == 4
    assert "SECRET" not in "".join(capsys.readouterr())
    assert not [p for p in cache.rglob("*") if p.is_file() and b"SECRET" in p.read_bytes()]
    assert any("authorization" in request.headers for request in hub.heard)
