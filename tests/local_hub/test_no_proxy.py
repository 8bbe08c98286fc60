"""no_proxy is the reader's again, whatever happens."""

import os
import threading
from pathlib import Path

import pytest

from companion.local_hub import LocalHub
from companion.local_hub.no_proxy import NAMES, no_proxy

Values = list[str | None]


def values() -> Values:
    return [os.environ.get(name) for name in NAMES]


@pytest.fixture(params=["", "example.org"])
def readers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Values:
    """What the reader has set: nothing, or a host."""
    for name in NAMES:
        monkeypatch.setenv(name, request.param)
        if not request.param:
            monkeypatch.delenv(name)
    return values()


def test_meanwhile_the_hosts_are_added(readers: Values) -> None:
    with no_proxy("*"):
        assert os.environ["no_proxy"].split(",")[-1] == "*"
        assert os.environ["NO_PROXY"] == os.environ["no_proxy"]
    assert values() == readers


def test_it_is_put_back_when_something_raises(readers: Values) -> None:
    with pytest.raises(KeyError), no_proxy("*"):
        raise KeyError
    assert values() == readers


def test_a_hub_puts_it_back_when_something_raises(readers: Values, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="localhost"), LocalHub(tmp_path):
        raise KeyError(os.environ["no_proxy"])
    assert values() == readers


def test_a_hub_that_cannot_be_started_puts_it_back(
    readers: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    with pytest.raises(RuntimeError, match="new thread"):
        LocalHub(tmp_path).start()
    assert values() == readers


def test_a_hub_that_was_not_started_leaves_it_alone(readers: Values, tmp_path: Path) -> None:
    LocalHub(tmp_path).stop()
    assert values() == readers
