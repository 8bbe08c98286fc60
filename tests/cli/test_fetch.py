"""`companion fetch`: what it prints, and its exit statuses."""

from pathlib import Path
from typing import Any

import pytest

from companion.cli import main
from faulty_hub import MODEL, SIZE, WEIGHTS, FaultyHub


@pytest.fixture
def command(hub: FaultyHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `companion fetch` against the hub of the test; answers with its status."""
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    return lambda *arguments: main(["fetch", *arguments])


def test_the_plan_fetches_nothing(
    hub: FaultyHub, command: Any, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("2", "--profile", "full", "--plan") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == f"{MODEL} at 82ca0d5d: 4 files, 1 MB"
    assert hub.requests("files") == []
    assert not list(cache.rglob(WEIGHTS))


def test_it_says_where_the_model_is_and_the_bar_is_on_stderr(
    command: Any, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("2", "--profile", "full") == 0
    printed = capsys.readouterr()
    (folder,) = cache.glob("*/snapshots/*")
    assert printed.out.splitlines()[-1] == f"{MODEL} is in {folder}"
    assert "%|" in printed.err
    assert "%|" not in printed.out


def test_a_second_run_says_that_it_is_here(
    hub: FaultyHub, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command("2", "--profile", "full")
    capsys.readouterr()
    assert command("2", "--profile", "full") == 0
    printed = capsys.readouterr()
    assert "4 files, 1 MB, here already" in printed.out
    assert "%|" not in printed.err
    assert hub.sent() == SIZE


def test_what_comes_with_the_package_needs_no_network(
    hub: FaultyHub, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("all", "--profile", "small", "--endpoint", "auto") == 0
    assert "nothing to fetch, it comes with the package" in capsys.readouterr().out
    assert hub.log == []


def test_auto_says_which_route_works_and_the_lines_for_the_shell(
    hub: FaultyHub, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("2", "--profile", "full", "--endpoint", "auto", "--plan") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"# {hub.address} works.")
    assert f"export HF_ENDPOINT={hub.address}" in lines
    assert "export HF_HUB_DISABLE_XET=1" in lines


def test_settings_that_clash_are_said_before(
    command: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_XET", raising=False)
    command("2", "--profile", "full", "--plan")
    assert "set HF_HUB_DISABLE_XET=1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["17"], 2, "Chapter 17 loads nothing"),
        (["2", "--profile", "huge"], 2, "There is no profile 'huge'"),
        (["2", "--profile", "full", "--endpoint", "http://127.0.0.1:9"], 1, "refuses the connect"),
        (["2", "--profile", "full", "--endpoint", "mirror"], 2, "There is no endpoint 'mirror'"),
        (["someone/unknown"], 4, "has no someone/unknown"),
    ],
)
def test_a_fault_is_one_sentence_with_a_status(
    command: Any,
    arguments: list[str],
    status: int,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setattr("companion.hub.narrate.clashes", list)
    assert command(*arguments) == status
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.err.startswith("companion: ")
    assert printed.err.count("\n") == 1


def test_what_was_said_before_is_not_said_again(
    command: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    hub_library_not_read: None,
) -> None:
    monkeypatch.delenv("HF_ENDPOINT")
    monkeypatch.setenv("all_proxy", "gopher://127.0.0.1")
    assert command("2", "--profile", "full", "--endpoint", "https://127.0.0.1:9") == 1
    printed = capsys.readouterr().err
    assert printed.startswith("companion: all_proxy names a kind of proxy")
    assert printed.count("\n") == 1


def test_of_all_what_can_be_had_is_fetched_and_the_rest_is_said(
    hub: FaultyHub, command: Any, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("all", "--profile", "full") == 4
    printed = capsys.readouterr()
    assert f"{MODEL} is in" in printed.out
    assert list(cache.rglob(WEIGHTS))
    said = printed.err.splitlines()
    assert any("has no CompVis/stable-diffusion-v1-4" in line for line in said)


def test_no_room_is_status_3(
    command: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("companion.hub.plan.Plan.free", 10)
    assert command("2", "--profile", "full") == 3
    assert "has 10 B free and 1 MB are needed" in capsys.readouterr().err


def test_the_help_tells_every_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fetch", "--help"])
    printed = capsys.readouterr().out
    statuses = printed.split("exit status:")[1].split("\n")
    assert [line.split()[0] for line in statuses if line.strip()] == ["0", "1", "2", "3", "4"]
