"""What the hub's own library says in each fault: the book's table of symptoms rests on this.

`companion fetch` in the same faults: see test_faults."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, snapshot_download

from faulty_hub import MODEL, WEIGHTS, FaultyHub

NO_INTERNET = "Please check your internet connection and try again"


@pytest.fixture
def library(hub: FaultyHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Fetches the weights with the library; answers with its folder."""
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)

    def fetched(repo_id: str = MODEL, endpoint: str = hub.address) -> str:
        return snapshot_download(
            repo_id,
            allow_patterns=[WEIGHTS],
            endpoint=endpoint,
            cache_dir=cache,
            etag_timeout=1,
            token=False,
        )

    return fetched


GATED = {"X_Error_Code": "GatedRepo"}


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (lambda hub: hub.refuse(503), "HfHubHTTPError", "503 Service Unavailable"),
        (lambda hub: hub.refuse(503, host="hub"), "LocalEntryNotFoundError", NO_INTERNET),
        (lambda hub: hub.send_on("http://127.0.0.1:9"), "LocalEntryNotFoundError", NO_INTERNET),
        (lambda hub: hub.shorten(by=1000), "OSError", "Consistency check failed"),
        (
            lambda hub: hub.refuse(401, host="hub", times=9, **GATED),
            "GatedRepoError",
            "Cannot access gated repo",
        ),
        (
            lambda hub: hub.refuse(403, host="hub", times=9, **GATED),
            "GatedRepoError",
            "Cannot access gated repo",
        ),
        pytest.param(
            lambda hub: hub.stop_files(), "ConnectError", "refused", marks=pytest.mark.slow
        ),
    ],
    ids=[
        "large file out of order",
        "api out of order",
        "mirror sends on",
        "short",
        "401",
        "403",
        "large files dead",
    ],
)
def test_it_fails_and_says(
    hub: FaultyHub,
    library: Callable[..., str],
    fault: Callable[[Any], None],
    error: str,
    words: str,
) -> None:
    fault(hub)
    with pytest.raises(Exception, match=words) as caught:
        library()
    assert caught.type.__name__ == error


def test_a_blocked_host_and_a_dead_host_sound_the_same(library: Callable[..., str]) -> None:
    for endpoint in ("http://127.0.0.1:9", "https://hub.invalid"):
        with pytest.raises(Exception, match=NO_INTERNET):
            library(endpoint=endpoint)


def test_an_id_that_is_gone_and_a_wrong_id_sound_the_same(library: Callable[..., str]) -> None:
    for repo_id in ("someone/unknown", "runwayml/stable-diffusion-v1-5"):
        with pytest.raises(Exception, match="Repository Not Found for url") as caught:
            library(repo_id)
        assert caught.type.__name__ == "RepositoryNotFoundError"


@pytest.mark.parametrize(
    "fault",
    [
        lambda hub: hub.cut(after=300_000),
        lambda hub: hub.stall(after=300_000),
        lambda hub: hub.refuse(429, Retry_After="0"),
    ],
    ids=["cut", "stall", "429"],
)
def test_it_tries_again_by_itself_in_the_same_run(
    hub: FaultyHub, library: Callable[..., str], fault: Callable[[Any], None], repositories: Path
) -> None:
    fault(hub)
    content = (Path(library()) / WEIGHTS).read_bytes()
    assert content == (repositories / MODEL / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_an_api_that_says_nothing_is_waited_for_without_end(
    hub: FaultyHub, library: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT are one second."""
    hub.silence(times=1)
    run = threading.Thread(target=library, daemon=True)
    run.start()
    run.join(4)
    assert run.is_alive()
    hub.over.set()
    run.join(20)
    assert not run.is_alive()
