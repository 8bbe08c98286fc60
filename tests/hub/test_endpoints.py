"""A mirror is one entry in endpoints.toml: whoever names or asks endpoints finds it there."""

from pathlib import Path

import pytest

from companion import hub as hubs
from companion.cli import main
from companion.doctor import network
from companion.hub import choose, clashes, find_endpoint, probe
from faulty_hub import EndpointsAre, FaultyHub

DEAD = "http://127.0.0.1:9"
PACKAGE = Path(hubs.__file__).parents[1]


@pytest.fixture
def second(
    hub: FaultyHub, cache: Path, endpoints_are: EndpointsAre, hub_library_not_read: None
) -> str:
    """The address of a second mirror; the official endpoint and the first one are dead."""
    endpoints_are(DEAD, first="http://127.0.0.1:7", second=hub.address)
    return hub.address


def test_a_second_mirror_is_chosen_where_it_is_the_one_that_works(second: str) -> None:
    assert find_endpoint("second") == find_endpoint(second) == choose("auto")[0]


def test_a_second_mirror_clashes_as_the_first_does(
    second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "second")
    name, xet = clashes()
    assert name.remedy == f"set HF_ENDPOINT={second}"
    assert xet.text.startswith(f"HF_ENDPOINT={second} is a mirror, but large files")


def test_a_second_mirror_is_named_by_the_doctor(
    second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finding,) = network.check_endpoint()
    assert finding.remedy.startswith(f"{second.removeprefix('http://')} works; before Python")
    assert f"export HF_ENDPOINT={second}" in finding.remedy


def test_a_second_mirror_is_in_the_choice_and_in_the_help(
    second: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="choose auto, official, first, second, offline"):
        find_endpoint("third")
    with pytest.raises(SystemExit):
        main(["fetch", "--help"])
    assert "auto, official, first, second, offline" in " ".join(capsys.readouterr().out.split())


def test_remedies_name_the_first_mirror_of_the_table(
    endpoints_are: EndpointsAre, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints_are(DEAD, new="https://new.example")
    assert "in China set HF_ENDPOINT=https://new.example before" in probe("official").sentence
    monkeypatch.setenv("HF_ENDPOINT", "nothing")
    with pytest.raises(ValueError, match="an address such as https://new"):
        find_endpoint()
    assert network.check_endpoint()[0].remedy == (
        "export HF_ENDPOINT=https://new.example, or unset HF_ENDPOINT"
    )


def test_no_mirror_stands_in_the_code() -> None:
    hosts = [known.host for known in hubs.endpoints().values() if not known.official]
    names = [name for name, known in hubs.endpoints().items() if not known.official]
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not [word for word in (*hosts, *names) if word in text], file
