"""Which route works, and which part of it does not."""

import socket
import sys
import threading
from pathlib import Path

import pytest

from companion.hub import choose, probe, probe_all
from faulty_hub import EndpointsAre, FaultyHub

DEAD = "http://127.0.0.1:9"


def test_a_route_that_works_answers_in_every_part(hub: FaultyHub, cache: Path) -> None:
    route = probe(hub.address)
    assert route.ok
    assert [part.name for part in route.parts] == ["API", "small file", "large file"]
    assert all(part.latency_ms is not None and part.latency_ms > 0 for part in route.parts)
    assert route.parts[2].host == hub.files_address.removeprefix("http://")
    assert route.sentence.endswith("works, large files too.")


def test_a_probe_fetches_one_byte_of_the_large_file(hub: FaultyHub, cache: Path) -> None:
    probe(hub.address)
    assert hub.sent() == 1


def test_metadata_without_large_files_is_no_route(hub: FaultyHub, cache: Path) -> None:
    hub.stop_files()
    route = probe(hub.address)
    assert [part.ok for part in route.parts] == [True, True, False]
    assert not route.ok
    assert route.sentence.startswith(hub.files_address.removeprefix("http://"))
    assert "settings come but weights do not" in route.sentence


def test_a_mirror_that_sends_its_readers_on_is_no_route(hub: FaultyHub, cache: Path) -> None:
    hub.send_on("http://127.0.0.1:9")
    route = probe(hub.address)
    assert not route.ok
    assert "answers 308: it sends you on to 127.0.0.1:9" in route.sentence
    assert "outside China use the official endpoint: unset HF_ENDPOINT" in route.sentence


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (429, "answers 429: too many requests; wait some minutes"),
        (403, "answers 403: it does not let you in"),
        (404, "answers 404: it has no copy of the file; choose an endpoint that has it"),
        (503, "answers 503; check the network, or take another endpoint"),
    ],
)
def test_a_host_that_refuses_is_named_with_the_remedy(
    hub: FaultyHub, cache: Path, status: int, words: str
) -> None:
    hub.refuse(status, host="hub", times=3)
    assert words in probe(hub.address).sentence


def test_a_dead_host_is_named_with_the_remedy(cache: Path) -> None:
    assert "127.0.0.1:9 (API of 127.0.0.1:9) refuses the connection" in probe(DEAD).sentence


def test_a_host_that_says_nothing_is_given_up(cache: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        route = probe(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3)
    assert "did not answer in 0.3 s" in route.sentence


def test_a_name_that_is_looked_up_for_ever_is_given_up(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(30))
    try:
        route = probe("http://slow.example", timeout=0.3)
        assert not over.is_set()
        assert "slow.example (API of slow.example) did not answer in 0.3 s" in route.sentence
    finally:
        over.set()


def test_several_endpoints_are_asked_at_once(hub: FaultyHub, cache: Path) -> None:
    assert [route.ok for route in probe_all([DEAD, hub.address])] == [False, True]


def test_auto_takes_the_official_endpoint_where_it_works(
    hub: FaultyHub, endpoints_are: EndpointsAre
) -> None:
    endpoints_are(hub.address, mirror=DEAD)
    endpoint, why = choose("auto")
    assert endpoint.name == "official"
    assert why == f"{hub.address} is taken. It is the first that works, large files too."


def test_auto_takes_the_mirror_where_the_official_endpoint_is_blocked(
    hub: FaultyHub, endpoints_are: EndpointsAre
) -> None:
    endpoints_are(DEAD, mirror=hub.address)
    assert choose("auto")[0].name == "mirror"


def test_auto_takes_no_route_without_large_files(
    hub: FaultyHub, endpoints_are: EndpointsAre
) -> None:
    endpoints_are(DEAD, mirror=hub.address)
    hub.stop_files()
    with pytest.raises(ConnectionError) as caught:
        choose("auto")
    assert "127.0.0.1:9 (API" in str(caught.value)
    assert "settings come but weights do not" in str(caught.value)


def test_auto_tries_first_what_hf_endpoint_names(
    hub: FaultyHub, endpoints_are: EndpointsAre, repositories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with type(hub)(repositories, hub.commits) as own:
        endpoints_are(hub.address, mirror=DEAD)
        monkeypatch.setenv("HF_ENDPOINT", own.address)
        assert choose("auto")[0].address == own.address


def test_auto_takes_no_mirror_on_colab(
    hub: FaultyHub, endpoints_are: EndpointsAre, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints_are(DEAD, mirror=hub.address)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    with pytest.raises(ConnectionError):
        choose("auto")
    assert hub.log == []


def test_auto_takes_no_mirror_behind_a_proxy(
    endpoints_are: EndpointsAre, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints_are(DEAD, mirror="http://mirror.example")
    monkeypatch.setenv("http_proxy", DEAD)
    with pytest.raises(ConnectionError, match="No mirror is used together with the proxy") as why:
        choose("auto")
    assert "mirror.example" not in str(why.value)


def test_auto_takes_a_mirror_that_is_reached_without_the_proxy(
    hub: FaultyHub, endpoints_are: EndpointsAre, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints_are("http://blocked.example", mirror=hub.address)
    monkeypatch.setenv("http_proxy", DEAD)
    monkeypatch.setenv("no_proxy", "10.0.0.0/8,127.0.0.0/8, localhost")
    assert choose("auto")[0].name == "mirror"


def test_auto_stays_offline_when_told_to(
    endpoints_are: EndpointsAre, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert choose("auto")[0].offline


def test_probing_needs_neither_torch_nor_the_hub_library() -> None:
    import subprocess

    code = (
        "import sys, companion.hub as hub\n"
        f"hub.probe('{DEAD}', timeout=2)\n"
        "print({'torch', 'huggingface_hub', 'tqdm', 'httpx2', 'httpx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
