"""`fetch` against a faulty network: it ends well, or with one sentence; nothing is lost, and no
file is under its name that is not whole and right."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from companion.hub import HubError, NoRoom, NotAllowed, fetch
from companion.local_hub.repository import Stored
from faulty_hub import MODEL, SIZE, WEIGHTS, FaultyHub, Shell
from needs import signals, unix


@pytest.fixture
def fails(get: Callable[[], bytes], cache: Path, weights: bytes) -> Callable[..., str]:
    """Fetches, expects that it fails, and answers with the sentence."""

    def failed(kind: type[HubError] = HubError) -> str:
        with pytest.raises(kind) as caught:
            get()
        sentence = str(caught.value)
        assert sentence.count("\n") == 0
        assert caught.type is kind
        assert all(path.read_bytes() == weights for path in under_its_name(cache))
        return sentence

    return failed


def under_its_name(cache: Path) -> list[Path]:
    """The weights, wherever in the cache they have a final name."""
    finals = [*cache.rglob(WEIGHTS), *cache.glob("*/blobs/*")]
    return [path for path in finals if re.fullmatch(r"[0-9a-f]{64}|.*safetensors", path.name)]


def files_host(hub: FaultyHub) -> str:
    return str(hub.files_address.removeprefix("http://"))


def test_cut_in_mid_file_it_goes_on_at_that_byte(
    hub: FaultyHub, get: Callable[[], bytes], weights: bytes
) -> None:
    hub.cut(after=300_000)
    assert get() == weights
    assert [line.range for line in hub.requests("files")] == ["", "bytes=300000-"]
    assert hub.sent() == SIZE


def test_cut_again_and_again_it_fails_and_the_second_run_goes_on(
    hub: FaultyHub, get: Callable[[], bytes], fails: Callable[..., str], weights: bytes
) -> None:
    hub.cut(after=400_000)
    hub.cut(after=0, times=5)
    sentence = fails()
    assert f"{files_host(hub)} (where" in sentence
    assert "cut the connection" in sentence
    assert "take another endpoint" in sentence
    assert get() == weights
    assert hub.requests("files")[-1].range == "bytes=400000-"
    assert hub.sent() == SIZE


def test_a_stall_ends_at_the_time_limit_and_it_goes_on(
    hub: FaultyHub, get: Callable[[], bytes], weights: bytes
) -> None:
    hub.stall(after=200_000)
    started = time.monotonic()
    assert get() == weights
    assert time.monotonic() - started >= 1  # HF_HUB_DOWNLOAD_TIMEOUT, in seconds
    assert hub.sent() == SIZE


def test_an_api_that_says_nothing_is_given_up(hub: FaultyHub, fails: Callable[..., str]) -> None:
    hub.silence()
    sentence = fails()
    assert sentence.startswith(f"{hub.address.removeprefix('http://')} does not answer within the")


def test_too_many_requests_it_waits_as_long_as_it_is_told(
    hub: FaultyHub, get: Callable[[], bytes], weights: bytes
) -> None:
    hub.refuse(429, Retry_After="1")
    started = time.monotonic()
    assert get() == weights
    assert time.monotonic() - started >= 1


def test_told_to_wait_for_an_hour_it_says_so_instead(
    hub: FaultyHub, fails: Callable[..., str]
) -> None:
    hub.refuse(429, Retry_After="3600")
    assert "answers 429, too many requests: wait 3600 seconds" in fails()
    assert len(hub.requests("files")) == 1


def test_out_of_order_for_a_moment_it_tries_again(
    hub: FaultyHub, get: Callable[[], bytes], weights: bytes
) -> None:
    hub.refuse(503, times=2)
    assert get() == weights
    assert [line.status for line in hub.requests("files")] == [503, 503, 200]


def test_out_of_order_for_good_it_fails(hub: FaultyHub, fails: Callable[..., str]) -> None:
    hub.refuse(503, times=5)
    assert f"{files_host(hub)} (where" in (sentence := fails())
    assert "answers 503; try again later" in sentence


def test_the_api_busy_for_a_moment_it_asks_again(
    hub: FaultyHub, get: Callable[[], bytes], weights: bytes
) -> None:
    hub.refuse(503, host="hub")
    hub.refuse(429, host="hub", Retry_After="0")
    assert get() == weights


def test_a_page_in_place_of_the_file_is_no_file(
    hub: FaultyHub, get: Callable[[], bytes], weights: bytes
) -> None:
    hub.log_in_first(times=2)
    assert get() == weights


def test_a_page_again_and_again_is_one_sentence(hub: FaultyHub, fails: Callable[..., str]) -> None:
    hub.log_in_first(times=100)
    assert "does the network want you to log in first?" in fails()


def test_the_api_out_of_order_it_fails(hub: FaultyHub, fails: Callable[..., str]) -> None:
    hub.refuse(503, host="hub", times=5)
    assert fails().startswith(f"{hub.address.removeprefix('http://')} answers 503; try again")


def test_sent_on_to_another_host_the_sentence_names_that_host(
    hub: FaultyHub, fails: Callable[..., str]
) -> None:
    hub.refuse(308, host="hub", times=100, Location="http://127.0.0.1:9/elsewhere")
    sentence = fails()
    assert "sends you on to another host, 127.0.0.1:9" in sentence
    assert "outside China use the official endpoint" in sentence


def test_sent_on_to_another_host_it_is_not_asked(
    hub: FaultyHub, repositories: Path, fails: Callable[..., str]
) -> None:
    with type(hub)(repositories, hub.commits) as stranger:
        hub.send_on(stranger.address)
        assert "sends you on to another host" in fails()
        assert not stranger.requests("hub")


def test_an_endpoint_that_tells_no_checksums_is_refused(
    hub: FaultyHub, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bare(stored: Stored) -> dict[str, object]:
        return {"type": "file", "path": stored.path, "size": stored.size}

    monkeypatch.setattr("companion.local_hub.server._blob", lambda stored: {})
    monkeypatch.setattr("companion.local_hub.server._entry", bare)  # of the tree
    assert "tells no sizes and checksums" in fails()


@pytest.mark.parametrize("name", ["oid", "sha256"])
def test_a_checksum_that_is_a_path_gets_nowhere(
    hub: FaultyHub,
    fails: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    cache: Path,
    name: str,
) -> None:
    from companion.local_hub import repository

    evil = "../../../../evil"
    honest = repository.Stored
    monkeypatch.setattr(
        repository, "Stored", lambda *values: replace(honest(*values), **{name: evil})
    )
    repository._stored.cache_clear()
    assert "tells no sizes and checksums" in fails()
    repository._stored.cache_clear()
    assert not list(cache.parent.parent.rglob("*evil*"))


def test_a_cache_that_cannot_be_made_is_one_sentence(
    hub: FaultyHub, cache: Path, fails: Callable[..., str]
) -> None:
    cache.parent.write_text("a file where the folder should be", encoding="utf-8")
    assert "cannot be written: set HF_HOME to a folder of yours" in fails()


def test_metadata_but_a_dead_host_of_large_files(
    hub: FaultyHub, cache: Path, fails: Callable[..., str]
) -> None:
    hub.stop_files()
    sentence = fails()
    assert sentence.startswith(f"{files_host(hub)} (where")
    assert "settings come but weights do not: take another endpoint" in sentence


def test_a_short_body_is_completed(
    hub: FaultyHub, get: Callable[[], bytes], weights: bytes
) -> None:
    hub.shorten(by=100_000)
    assert get() == weights
    assert hub.requests("files")[-1].range == "bytes=900000-"
    assert hub.sent() == SIZE


def test_a_flipped_byte_is_found_and_fetched_again(
    hub: FaultyHub, get: Callable[[], bytes], weights: bytes
) -> None:
    hub.flip()
    assert get() == weights
    assert hub.sent() == 2 * SIZE


def test_a_byte_flipped_twice_is_a_fault_of_the_host(
    hub: FaultyHub, fails: Callable[..., str]
) -> None:
    hub.flip(times=2)
    sentence = fails()
    assert f"{files_host(hub)} (where" in sentence
    assert f"sent {WEIGHTS} damaged, twice" in sentence


def test_a_damaged_beginning_is_found_when_the_rest_has_come(
    hub: FaultyHub, cache: Path, get: Callable[[], bytes], fails: Callable[..., str], weights: bytes
) -> None:
    hub.cut(after=400_000)
    hub.cut(after=0, times=5)
    fails()
    (part,) = (path for path in cache.rglob("*.incomplete") if path.stat().st_size == 400_000)
    with part.open("r+b") as stream:
        stream.write(b"not what was sent")
    assert get() == weights


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_is_refused_with_where_to_ask(
    hub: FaultyHub, fails: Callable[..., str], status: int
) -> None:
    hub.refuse(status, host="hub", X_Error_Code="GatedRepo", X_Error_Message="Access is restricted")
    sentence = fails(NotAllowed)
    assert f"answers {status}" in sentence
    assert f"accepted its terms at https://huggingface.co/{MODEL}" in sentence
    assert "set HF_TOKEN (never in a notebook)" in sentence
    assert "--send-token" in sentence


@pytest.mark.parametrize("status", [401, 403])
def test_turned_away_at_the_host_of_large_files_it_is_no_matter_of_terms(
    hub: FaultyHub, fails: Callable[..., str], status: int
) -> None:
    hub.refuse(status, times=1000)
    assert f"answers {status}; try again later, or take another endpoint" in fails()


def test_an_unknown_id_is_refused(hub: FaultyHub, cache: Path) -> None:
    with pytest.raises(NotAllowed, match=r"has no someone/unknown, or does not show it to you"):
        fetch("someone/unknown", where=hub.address)


def test_a_removed_id_is_refused_with_its_heir(hub: FaultyHub, cache: Path) -> None:
    with pytest.raises(NotAllowed, match="use stable-diffusion-v1-5/stable-diffusion-v1-5 in its"):
        fetch("runwayml/stable-diffusion-v1-5", where=hub.address)


def test_an_unknown_revision_is_refused(hub: FaultyHub, cache: Path) -> None:
    with pytest.raises(NotAllowed, match=f"has {MODEL}, but not this version of it"):
        fetch(f"{MODEL}@{'0' * 40}", where=hub.address)


def test_a_dead_endpoint_is_one_sentence(hub: FaultyHub, cache: Path) -> None:
    with pytest.raises(HubError, match=r"127.0.0.1:9 refuses the connection; check the network"):
        fetch(2, "full", where="http://127.0.0.1:9")


def test_a_name_without_an_address_is_one_sentence(cache: Path) -> None:
    with pytest.raises(HubError, match=r"hub.invalid has no address here: the name is unknown"):
        fetch(2, "full", where="https://hub.invalid")


class Process:
    """`companion fetch denoiser` in a process of its own, with what it says on stderr."""

    def __init__(self, shell: Shell, time_limit: int = 30, **limits: int) -> None:
        def limit() -> None:
            import resource

            for name, value in limits.items():
                resource.setrlimit(getattr(resource, name), (value, value))

        self.started = subprocess.Popen(
            [sys.executable, "-m", "companion", "fetch", "denoiser", "--profile", "full"],
            cwd=shell.folder,
            env=shell.environment | {"HF_HUB_DOWNLOAD_TIMEOUT": str(time_limit)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,
        )

    def end(self) -> tuple[int, str]:
        _, said = self.started.communicate(timeout=60)
        return self.started.returncode, said


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in 30 s"
        time.sleep(0.01)


@pytest.mark.parametrize("blow", signals("SIGKILL", "SIGINT"))
def test_killed_or_stopped_in_mid_file_the_next_run_goes_on(
    hub: FaultyHub, shell: Shell, tmp_path: Path, blow: signal.Signals, weights: bytes
) -> None:
    hub.stall(after=600_000)
    process = Process(shell)
    cache = tmp_path / "home" / "hub"
    wait_for(lambda: any(p.stat().st_size == 600_000 for p in cache.rglob("*.incomplete")))
    process.started.send_signal(blow)
    status, said = process.end()
    if blow is signal.SIGINT:
        assert status == 1
        assert said.splitlines()[-1].startswith("Stopped. What was saved is kept")
    assert not under_its_name(cache)
    assert Process(shell).end()[0] == 0
    (file,) = cache.glob(f"*/snapshots/*/{WEIGHTS}")
    assert file.read_bytes() == weights
    assert hub.sent() == SIZE


@unix
def test_a_quota_is_a_full_disk_and_the_next_run_goes_on(
    hub: FaultyHub, shell: Shell, tmp_path: Path, weights: bytes
) -> None:
    cache = tmp_path / "home" / "hub"
    status, said = Process(shell, RLIMIT_FSIZE=500_000).end()
    assert status == 3
    assert said.splitlines()[-1].startswith(f"companion: The disk is full at {cache}: make room")
    assert not under_its_name(cache)
    assert Process(shell).end()[0] == 0
    (file,) = cache.glob(f"*/snapshots/*/{WEIGHTS}")
    assert file.read_bytes() == weights
    assert hub.requests("files")[-1].range.startswith("bytes=")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1.5 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("only root may make a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_meanwhile_keeps_what_came(
    hub: FaultyHub, cache: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, weights: bytes
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(small_disk))
    other = small_disk / "somebody-elses"
    hub.faults.clear()
    original = hub.large_file

    def fill_the_disk(request: Any) -> Any:
        other.write_bytes(bytes(1_000_000))
        return original(request)

    monkeypatch.setattr(hub, "large_file", fill_the_disk)
    with pytest.raises(NoRoom, match=f"The disk is full at {small_disk}: make room"):
        fetch("denoiser", "full", where=hub.address, progress=False)
    assert not under_its_name(small_disk)
    kept = max(path.stat().st_size for path in small_disk.rglob("*.incomplete"))
    assert kept > 0

    other.unlink()
    monkeypatch.setattr(hub, "large_file", original)
    (folder,) = fetch("denoiser", "full", where=hub.address, progress=False).values()
    assert (folder / WEIGHTS).read_bytes() == weights
    assert hub.requests("files")[-1].range == f"bytes={kept}-"
