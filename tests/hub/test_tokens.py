"""The token goes to the official host and to nobody else, and is never shown."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from companion import hub as hubs
from companion.hub import fetch, token_place
from companion.hub.tokens import token_for
from faulty_hub import MODEL, WEIGHTS, EndpointsAre, FaultyHub, Shell


@pytest.fixture
def token(shell: Shell) -> str:
    return str(shell.environment["HF_TOKEN"])


@pytest.fixture
def official(hub: FaultyHub, endpoints_are: EndpointsAre) -> None:
    """The hub of the test counts as Hugging Face's."""
    endpoints_are(hub.address)


def told(hub: FaultyHub, host: str) -> set[str]:
    """The Authorization headers that a host was sent."""
    return {
        request.headers["authorization"]
        for request in hub.heard
        if request.host == host and "authorization" in request.headers
    }


def anywhere(hub: FaultyHub, token: str) -> list[Any]:
    """Requests with the token in any header, the address or the body."""
    return [request for request in hub.heard if token in repr(request)]


def test_a_token_that_no_header_takes_does_not_stop_a_fetch(
    hub: FaultyHub, cache: Path, official: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_ä中")
    fetch(2, "full", progress=False)
    assert told(hub, "hub") == set()


def test_a_host_that_is_not_official_gets_no_token(hub: FaultyHub, cache: Path, token: str) -> None:
    fetch(2, "full", where=hub.address, progress=False)
    assert hub.requests("files")
    assert anywhere(hub, token) == []


def test_told_so_it_gets_the_token_but_its_host_of_large_files_does_not(
    hub: FaultyHub, cache: Path, token: str
) -> None:
    fetch(2, "full", where=hub.address, send_token=True, progress=False)
    assert told(hub, "hub") == {f"Bearer {token}"}
    assert hub.requests("files")
    assert not [request for request in anywhere(hub, token) if request.host == "files"]


def test_the_official_host_gets_the_token_but_its_host_of_large_files_does_not(
    hub: FaultyHub, official: None, cache: Path, token: str
) -> None:
    fetch(2, "full", where="official", progress=False)
    assert told(hub, "hub") == {f"Bearer {token}"}
    assert hub.requests("files")
    assert not [request for request in anywhere(hub, token) if request.host == "files"]


def test_sent_on_with_308_another_host_does_not_get_it(
    hub: FaultyHub, repositories: Path, cache: Path, token: str
) -> None:
    with type(hub)(repositories, hub.commits) as stranger:
        hub.send_on(stranger.address)
        with pytest.raises(hubs.HubError):
            fetch(2, "full", where=hub.address, send_token=True, progress=False)
        assert told(hub, "hub") == {f"Bearer {token}"}
        assert stranger.heard == []


def test_a_probe_sends_no_token(hub: FaultyHub, official: None, cache: Path, token: str) -> None:
    assert hubs.probe("official").ok
    assert anywhere(hub, token) == []


def test_the_token_is_in_no_output_and_no_file(
    hub: FaultyHub, shell: Shell, token: str, tmp_path: Path
) -> None:
    hub.refuse(401, host="hub", times=1, X_Error_Code="GatedRepo")
    command = ["companion", "fetch", MODEL, "--send-token"]
    outputs = [shell(*command, HF_DEBUG="1"), shell(*command, HF_DEBUG="1")]
    assert [done.returncode for done in outputs] == [4, 0]
    assert told(hub, "hub") == {f"Bearer {token}"}
    assert not any(token in done.stdout + done.stderr for done in outputs)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == WEIGHTS for path in files)
    assert not [path for path in files if token.encode() in path.read_bytes()]


def test_where_the_token_lies_is_told_without_the_token(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert token_place() == "HF_TOKEN"
    monkeypatch.delenv("HF_TOKEN")
    assert token_place() is None
    file = cache.parent / "token"
    file.parent.mkdir()
    file.write_text("hf_other", encoding="utf-8")
    assert token_place() == str(file)


def test_the_library_sends_it_to_whatever_hf_endpoint_says(
    hub: FaultyHub, shell: Callable[..., Any], token: str
) -> None:
    assert shell("hf", "download", MODEL, WEIGHTS).returncode == 0
    assert told(hub, "hub") == {f"Bearer {token}"}
    assert told(hub, "files") == set()


def test_with_the_lines_for_a_mirror_the_library_sends_none(
    hub: FaultyHub, shell: Shell, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("hf", path=shell.environment["PATH"]):
        pytest.skip("hf is not installed")
    lines = hubs.export_lines(hubs.find_endpoint(hub.address))
    done = shell("bash", "-ec", f"{lines}\nhf download {MODEL} {WEIGHTS}")
    assert done.returncode == 0, done.stderr
    assert hub.requests("files")
    assert anywhere(hub, token) == []


@pytest.mark.parametrize(
    ("command", "passed_on"),
    [
        (["curl", "--silent", "--location", "--remote-name", "--header"], False),
        (["wget", "--quiet", "--header"], True),
        (["aria2c", "--quiet", "--header"], True),
    ],
)
def test_who_passes_a_token_of_the_command_line_on_to_the_other_host(
    hub: FaultyHub, shell: Shell, token: str, command: list[str], passed_on: bool
) -> None:
    """Why the book shows a token with curl only."""
    done: subprocess.CompletedProcess[str] = shell(
        *command, f"Authorization: Bearer {token}", f"{hub.address}/{MODEL}/resolve/main/{WEIGHTS}"
    )
    assert done.returncode == 0, done.stderr
    assert told(hub, "hub") == {f"Bearer {token}"}
    assert bool(told(hub, "files")) is passed_on


IN_A_CELL = """
from companion import profile
{first}
profile()
from datasets import load_dataset
print(len(load_dataset("huggan/flowers-102-categories", split="train")))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("companion", "train", "someone/pictures"),
        ("companion", "attend", "a cat", "--model", MODEL),
        (sys.executable, "-c", IN_A_CELL.format(first="")),
        (sys.executable, "-c", IN_A_CELL.format(first="import huggingface_hub.constants")),
    ],
    ids=["train", "attend", "a cell", "a cell after the library was imported"],
)
def test_the_libraries_send_it_to_no_host_of_the_readers_choice_unasked(
    hub: FaultyHub, shell: Shell, token: str, command: tuple[str, ...]
) -> None:
    shell(*command)
    assert hub.requests("hub") or hub.requests("hub", "HEAD")
    assert anywhere(hub, token) == []


@pytest.mark.slow
def test_they_do_where_the_reader_says_so(hub: FaultyHub, shell: Shell, token: str) -> None:
    command = (sys.executable, "-c", IN_A_CELL.format(first=""))
    assert shell(*command, HF_HUB_DISABLE_IMPLICIT_TOKEN="0").stdout == "6\n"
    assert told(hub, "hub") == {f"Bearer {token}"}


@pytest.mark.slow
def test_the_official_host_gets_it_from_the_libraries_as_ever(
    hub: FaultyHub, shell: Shell, token: str, tmp_path: Path
) -> None:
    table = f"{{'official': Endpoint('official', '{hub.address}', official=True)}}"
    official = (
        "import sys; from companion.hub import Endpoint\n"
        f"sys.modules[Endpoint.__module__].endpoints = lambda: {table}"
    )
    assert shell(sys.executable, "-c", IN_A_CELL.format(first=official)).stdout == "6\n"
    assert told(hub, "hub") == {f"Bearer {token}"}


def test_a_token_file_that_cannot_be_read_is_no_token(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache))
    cache.mkdir(parents=True)  # a folder in its place
    assert token_for(hubs.find_endpoint("official")) is False
