"""`fetch` against hosts that mean harm, and caches that somebody else has laid out: nothing outside
the repository's folder is read for, written, changed or removed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from companion.hub import HubError, fetch
from companion.hub.plan import storage_of
from companion.sources import ModelSource
from faulty_hub import COMMIT, MODEL, WEIGHTS, FaultyHub

PRECIOUS = b"three years of work"


@pytest.fixture
def thesis(tmp_path: Path) -> Path:
    """A reader's file outside the cache."""
    file = tmp_path / "thesis.txt"
    file.write_bytes(PRECIOUS)
    return file


@pytest.fixture
def get(hub: FaultyHub, cache: Path) -> Callable[[], Path]:
    """Fetches the whole model; answers with its folder."""
    return lambda: fetch(f"{MODEL}@{COMMIT}", where=hub.address, progress=False)[MODEL]


@pytest.fixture
def storage(cache: Path) -> Path:
    return storage_of(ModelSource(hub=MODEL), cache)


def everything(folder: Path) -> dict[str, bytes]:
    """What is in a folder, links not followed."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def add(name: Any) -> Callable[[dict[str, Any]], None]:
    """A listing with one file more, of another size than what is there."""
    return lambda told: told["siblings"].append(
        {"rfilename": name, "size": 3, "blobId": "0" * 40},
    )


def again(**other: Any) -> Callable[[dict[str, Any]], None]:
    """A listing that tells its first file again, with something else about it."""
    return lambda told: told["siblings"].append(told["siblings"][0] | other)


@pytest.mark.parametrize(
    "name",
    [
        "{thesis}",
        "../../../../../thesis.txt",
        "unet/../../../../../../thesis.txt",
        "../../../../token",
        "../../../models--me--other/snapshots/x/config.json",
        "..\\..\\..\\..\\..\\thesis.txt",
        "C:\\thesis.txt",
        "unet/.. /../../../../thesis.txt",
        "\x1b[2Jconfig.json",
        "config\n.json",
        "gpj.\u202eexe",
        "",
        ".",
        "a//b",
        "a/",
        None,
        5,
        ["config.json"],
    ],
)
def test_a_listing_that_names_a_file_outside_is_refused_and_the_file_stays(
    hub: FaultyHub, get: Any, cache: Path, thesis: Path, name: Any
) -> None:
    others = [cache.parent / "token", cache / "models--me--other/snapshots/x/config.json"]
    for other in others:
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(PRECIOUS)
    hub.tell(add(name.format(thesis=thesis) if isinstance(name, str) else name))
    with pytest.raises(HubError, match=r"The list of files|cannot be the name of a file") as caught:
        get()
    assert str(caught.value).isprintable()
    assert all(path.read_bytes() == PRECIOUS for path in (thesis, *others))
    assert not list(cache.rglob("*.safetensors"))


@pytest.mark.parametrize("name", ["cafe\u0301.txt", "a" * 300, "b/" * 600 + "c", "unet/\u200b"])
def test_a_name_that_does_no_harm_but_cannot_be_is_left_out_and_said(
    hub: FaultyHub, get: Any, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    from companion.cli import main

    hub.tell(add(name))
    assert main(["fetch", f"{MODEL}@main", "--endpoint", hub.address]) == 0
    assert "  Left out: " in capsys.readouterr().out
    assert (get() / WEIGHTS).is_file()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", -1),
        ("size", "10"),
        ("size", 1.5),
        ("size", 2**60),
        ("size", True),
        ("size", None),
        ("blobId", "../../../evil"),
        ("blobId", "A" * 40),
        ("blobId", 5),
        ("blobId", None),
        ("lfs", {"sha256": "/tmp/evil"}),
        ("lfs", []),
        ("lfs", {"sha256": "0" * 40 + "\n"}),
    ],
)
def test_a_size_or_a_checksum_that_is_none_is_refused(
    hub: FaultyHub, get: Any, cache: Path, field: str, value: Any
) -> None:
    hub.tell(lambda told: told["siblings"][0].update({field: value}))
    with pytest.raises(HubError, match="tells no sizes and checksums"):
        get()
    assert not list(cache.rglob("*"))


@pytest.mark.parametrize(
    "told",
    [
        [],
        None,
        5,
        {},
        {"sha": COMMIT},
        {"sha": COMMIT, "siblings": None},
        {"sha": COMMIT, "siblings": {}},
        {"sha": "../../x", "siblings": []},
        {"sha": "0" * 40, "siblings": []},
        {"sha": None, "siblings": []},
    ],
)
def test_an_answer_that_is_no_listing_of_the_commit_is_refused(
    hub: FaultyHub, get: Any, told: Any
) -> None:
    hub.tell(lambda _: told if told is not None else "null")
    with pytest.raises(HubError, match="tells no sizes and checksums"):
        get()


def test_two_sizes_for_one_checksum_are_refused(hub: FaultyHub, get: Any) -> None:
    hub.tell(
        lambda told: told["siblings"].append({**told["siblings"][0], "rfilename": "b", "size": 1})
    )
    with pytest.raises(HubError, match="two sizes for one content"):
        get()


def test_two_contents_of_one_name_are_refused(hub: FaultyHub, get: Any) -> None:
    hub.tell(
        lambda told: told["siblings"].append({**told["siblings"][0], "size": 1, "blobId": "0" * 40})
    )
    with pytest.raises(HubError, match="two files called"):
        get()


def test_a_file_that_is_a_folder_too_is_refused(hub: FaultyHub, get: Any) -> None:
    hub.tell(add("config.json/x"))
    with pytest.raises(HubError, match="a file and a folder"):
        get()


def test_a_listing_that_says_a_file_twice_says_it_once(hub: FaultyHub, get: Any) -> None:
    hub.tell(again())
    assert (get() / WEIGHTS).is_file()


def test_a_checksum_in_a_header_that_is_a_path_is_not_looked_at(
    hub: FaultyHub, get: Any, tmp_path: Path, weights: bytes
) -> None:
    evil = '"../../../../../evil"'
    hub.add_headers({"ETag": evil, "X-Linked-Etag": evil, "X-Repo-Commit": "../../evil"})
    assert (get() / WEIGHTS).read_bytes() == weights
    assert not list(tmp_path.rglob("*evil*"))


def checksum(hub: FaultyHub) -> str:
    return str(hub.repository("model", MODEL, None).files()[WEIGHTS].sha256)


PLACES = {
    "partial": "{storage}/blobs/{sum}.companion.incomplete",
    "blob": "{storage}/blobs/{sum}",
    "file": "{storage}/snapshots/{commit}/" + WEIGHTS,
    "lock": "{cache}/.locks/{storage.name}/{sum}.lock",
    "listing": "{storage}/companion/{commit}.json",
    "checked": "{storage}/companion/checked",
    "branch": "{storage}/refs/main",
}


@pytest.fixture(params=PLACES)
def path(request: pytest.FixtureRequest, hub: FaultyHub, cache: Path, storage: Path) -> Path:
    """Where `fetch` puts a file of its own."""
    pattern = PLACES[str(request.param)]
    return Path(pattern.format(storage=storage, cache=cache, sum=checksum(hub), commit=COMMIT))


def fetched(hub: FaultyHub) -> Path:
    """The folder of the model, fetched by its branch."""
    return fetch(f"{MODEL}@main", where=hub.address, progress=False)[MODEL]


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_link_where_a_file_of_ours_belongs_is_not_written_through(
    hub: FaultyHub, path: Path, thesis: Path, weights: bytes, link: Any
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    link(path, thesis)
    assert (fetched(hub) / WEIGHTS).read_bytes() == weights
    assert thesis.read_bytes() == PRECIOUS


def test_a_link_that_leads_nowhere_makes_no_file_there(
    hub: FaultyHub, path: Path, tmp_path: Path, weights: bytes
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(tmp_path / "made.txt")
    assert (fetched(hub) / WEIGHTS).read_bytes() == weights
    assert not (tmp_path / "made.txt").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are Unix's")
def test_a_pipe_where_a_file_of_ours_belongs_does_not_hang(
    hub: FaultyHub, path: Path, weights: bytes
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    assert (fetched(hub) / WEIGHTS).read_bytes() == weights


def test_a_folder_where_a_file_of_ours_belongs_is_one_sentence_or_the_file(
    hub: FaultyHub, path: Path, weights: bytes
) -> None:
    path.mkdir(parents=True)
    (path / "thesis.txt").write_bytes(PRECIOUS)
    try:
        assert (fetched(hub) / WEIGHTS).read_bytes() == weights
    except HubError as error:
        assert "is in the way: look at what it is" in str(error)  # noqa: PT017
    assert (path / "thesis.txt").read_bytes() == PRECIOUS


@pytest.mark.parametrize(
    "folder", ["blobs", "snapshots", f"snapshots/{COMMIT}", "companion", "refs", "../.locks"]
)
def test_a_folder_of_ours_that_is_a_link_leads_nowhere(
    hub: FaultyHub, storage: Path, tmp_path: Path, folder: str
) -> None:
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / WEIGHTS).write_bytes(PRECIOUS)
    (outside / "main").write_bytes(PRECIOUS)
    path = storage / folder
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(outside)
    try:
        fetched(hub)
    except HubError as error:
        assert "is not inside" in str(error)  # noqa: PT017
    assert everything(outside) == {WEIGHTS: PRECIOUS, "main": PRECIOUS}


def test_a_link_to_a_readers_own_file_is_replaced_and_the_file_stays(
    hub: FaultyHub, get: Any, storage: Path, thesis: Path, weights: bytes
) -> None:
    final = get() / WEIGHTS
    final.unlink()
    final.symlink_to(thesis)
    assert (get() / WEIGHTS).read_bytes() == weights
    assert thesis.read_bytes() == PRECIOUS


@pytest.mark.parametrize("note", ["../../../../etc", "main", "", "0" * 39, "\0" * 40, "A" * 40])
def test_a_branch_that_is_noted_as_no_commit_is_none(
    hub: FaultyHub, cache: Path, storage: Path, note: str
) -> None:
    fetched(hub)
    (storage / "refs/main").write_text(note)
    with pytest.raises(HubError, match="is not whole on this machine"):
        fetch(f"{MODEL}@main", where="offline")


@pytest.mark.parametrize(
    "note",
    [
        "[]",
        "{}",
        "null",
        "[" * 100_000,
        '[{"path": 5, "size": 1, "etag": "a"}]',
        '[{"path": "a", "size": "x", "etag": "b"}]',
        '{"endpoint": "x", "official": true, "files": [{"path": 5, "size": 1, "etag": "a"}]}',
        '{"endpoint": "x", "official": true, "files": [{"path": "../../../../../thesis.txt",'
        ' "size": 3, "etag": "0000000000000000000000000000000000000000"}]}',
        '{"endpoint": "x", "official": true, "files": 5}',
        '{"endpoint": "x", "official": true, "files": []}',
        "\0",
    ],
)
def test_a_note_that_is_none_is_not_believed(
    hub: FaultyHub, get: Any, storage: Path, thesis: Path, weights: bytes, note: str
) -> None:
    place = storage / "companion" / f"{COMMIT}.json"
    place.parent.mkdir(parents=True)
    place.write_text(note)
    assert (get() / WEIGHTS).read_bytes() == weights
    assert thesis.read_bytes() == PRECIOUS


@pytest.mark.parametrize(
    "what",
    [
        "../../x",
        "datasets/../..",
        "a/..",
        ".a/b",
        "a/b@../../x",
        "a/b@/etc",
        "a/b@..",
        "a--b/c",
        "\x1b[2Ja/b",
        "a/b@a\nb",
    ],
)
def test_an_id_or_a_revision_that_is_none_is_refused(
    hub: FaultyHub, cache: Path, what: str
) -> None:
    with pytest.raises(ValueError, match=r"no chapter, no name|can be no version") as caught:
        fetch(what, where=hub.address)
    assert str(caught.value).isprintable()
    assert hub.heard == []


def test_no_folder_is_made_where_a_link_in_place_of_the_locks_leads(
    get: Callable[[], Path], cache: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    cache.mkdir(parents=True, exist_ok=True)
    (cache / ".locks").symlink_to(outside)
    with pytest.raises(HubError, match="nothing was touched"):
        get()
    assert not list(outside.iterdir())
