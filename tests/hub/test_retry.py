"""Slow, endless, odd and circling answers: each ends soon, with the file or with one sentence."""

import gzip
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from companion.hub import HubError, fetch, listing
from companion.hub.retry import LONGEST_WAIT, Pace, asked_for, pause
from faulty_hub import SIZE, WEIGHTS, FaultyHub


@pytest.fixture
def fails(get: Callable[[], bytes], cache: Path) -> Callable[..., str]:
    """Fetches, expects that it fails within so many seconds, and answers with the sentence."""

    def failed(seconds: float = 20) -> str:
        started = time.monotonic()
        with pytest.raises(HubError) as caught:
            get()
        assert time.monotonic() - started < seconds
        assert str(caught.value).isprintable()
        assert not list(cache.rglob(WEIGHTS))
        return str(caught.value)

    return failed


def test_a_host_that_knows_no_head_is_not_asked_for_one(
    hub: FaultyHub, get: Any, weights: bytes
) -> None:
    assert get() == weights
    assert {request.method for request in hub.heard} == {"GET"}


@pytest.mark.parametrize("answers", ["whole", "rest"])
def test_206_without_a_word_of_where_is_told_by_its_length(
    hub: FaultyHub, get: Any, weights: bytes, answers: str
) -> None:
    hub.cut(after=300_000)
    hub.mangle(status=206, ranges=answers == "rest", without="Content-Range")
    assert get() == weights


def test_206_with_something_else_again_and_again_is_one_sentence(
    hub: FaultyHub, fails: Any
) -> None:
    hub.refuse(206, times=1000)
    assert "sends too little in place of" in fails()
    assert len(hub.requests("files")) < 10


def test_206_for_another_place_in_the_file_is_not_taken(hub: FaultyHub, fails: Any) -> None:
    hub.refuse(206, times=1000, Content_Range=f"bytes 500-501/{SIZE}")
    assert "sends too little in place of" in fails()


def test_a_file_without_end_is_taken_to_its_size(hub: FaultyHub, get: Any, weights: bytes) -> None:
    hub.pour(weights, b"more" * 10_000, times=1000)
    assert get() == weights
    assert hub.sent() < 60 * SIZE


def test_something_else_without_end_is_taken_to_the_size_of_the_file(
    hub: FaultyHub, fails: Any
) -> None:
    hub.pour(b"", b"more" * 10_000, times=1000)
    assert "damaged, twice" in fails()


def test_a_listing_without_end_is_given_up(
    hub: FaultyHub, fails: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LIMIT", 2_000_000)
    hub.pour(b"[", b" " * 100_000, host="hub", times=1000)
    assert "sends more than 2 MB where a list of files belongs" in fails()


@pytest.mark.parametrize("host", ["files", "hub"])
def test_a_body_that_drips_for_ever_is_taken_for_silent(
    hub: FaultyHub, fails: Any, host: str
) -> None:
    hub.pour(b"", b"x", host=host, every=0.05, times=1000)
    assert "sends less than 1 kB a second" in fails()


@pytest.fixture
def dripper() -> Iterator[str]:
    """A host that sends headers byte by byte, without end; its address."""
    over = threading.Event()

    class Drip(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Wait: ")
            while not over.wait(0.1):
                self.wfile.write(b".")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Drip) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        over.set()
        server.shutdown()


def test_headers_of_a_file_that_drip_for_ever_are_too(
    hub: FaultyHub, fails: Any, dripper: str
) -> None:
    hub.refuse(302, times=1000, Location=dripper)
    assert "sends less than 1 kB a second" in fails()


def test_headers_of_a_listing_that_drip_for_ever_are_too(cache: Path, dripper: str) -> None:
    with pytest.raises(HubError, match="sends less than 1 kB a second"):
        fetch("denoiser", "full", where=dripper, progress=False)


def test_a_few_bytes_a_request_for_ever_are_too(hub: FaultyHub, fails: Any) -> None:
    def few(request: Any, answer: Any) -> Any:
        time.sleep(0.1)
        answer.stop = min(answer.stop, answer.start + 20)
        return answer

    hub.change("files", few)
    assert "sends less than 1 kB a second" in fails()


def test_silence_twice_is_enough(hub: FaultyHub, fails: Any) -> None:
    hub.stall(after=0, times=100)
    assert "does not answer within the time limit" in fails(seconds=10)


def test_one_closed_connection_is_no_reason_to_give_up(
    hub: FaultyHub, get: Any, weights: bytes
) -> None:
    hub.hang_up("hub")
    hub.hang_up("files")
    assert get() == weights


def test_a_compressed_answer_is_unpacked(hub: FaultyHub, get: Any, weights: bytes) -> None:
    def packed(request: Any, answer: Any) -> Any:
        answer.start = 0  # as a host does that packs all answers and knows no ranges of them
        body = gzip.compress(b"".join(answer.chunks()))
        return type(answer)(200, {"Content-Encoding": "gzip"}, body)

    hub.cut(after=300_000)
    hub.change("files", packed)
    hub.change("hub", packed, times=1)
    assert get() == weights


def test_a_compressed_bomb_is_taken_to_the_size_of_the_file(hub: FaultyHub, fails: Any) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    hub.change("files", lambda _, answer: type(answer)(200, {"Content-Encoding": "gzip"}, bomb))
    assert "damaged, twice" in fails()


@pytest.mark.parametrize("host", ["files", "hub"])
def test_a_packed_body_that_cannot_be_unpacked_is_said(
    hub: FaultyHub, fails: Any, host: str
) -> None:
    packed = {"Content-Encoding": "gzip"}
    hub.change(host, lambda _, answer: type(answer)(200, dict(packed), b"rubbish"))
    assert "sends what cannot be unpacked; " in fails()


def test_a_body_without_a_length_is_the_file(hub: FaultyHub, get: Any, weights: bytes) -> None:
    hub.pour(weights, b"", times=1000)
    assert get() == weights


NOWHERE = [
    "file:///etc/passwd",
    "gopher://x/y",
    "mailto:me@x",
    "http://",
    "https:///x",
    "http://[::1",
    "http://x:99999/",
    "http://exa mple/",
    "http://a..b/",
    "http://999.999.999.999/",
    "////x",
    f"http://{'a' * 64}.com/",
    "http://127.0.0.1:9/\x1b[2J",
]


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        *(
            (location, "sends you on to what is no address; try again later")
            for location in NOWHERE
        ),
        ("", "sends you round in circles"),
        ("http://127.0.0.1:9/x", "refuses the connection"),
    ],
)
def test_a_redirect_to_nowhere_is_one_sentence(
    hub: FaultyHub, fails: Any, location: str, sentence: str
) -> None:
    def on(request: Any, answer: Any) -> Any:
        return type(answer)(302, {"Location": location})

    hub.change("files", on)
    assert sentence in fails()


def test_a_token_does_not_follow_a_file_to_another_port(hub: FaultyHub, cache: Path) -> None:
    fetch("denoiser", "full", where=hub.address, send_token=True, progress=False)
    heard = {(r.host, "authorization" in r.headers) for r in hub.heard if r.path.startswith("/")}
    assert heard == {("hub", True), ("files", False)}


def answer(after: str) -> Any:
    return SimpleNamespace(headers={"Retry-After": after})


@pytest.mark.parametrize(
    "after", ["-5", "nan", "inf", "soon", "1e3", "5.5", "³", "٣", "9" * 400, "\x1b[2J", "Mon, 99"]
)
def test_a_retry_after_that_says_nothing_is_passed_over(after: str) -> None:
    assert asked_for(answer(after)) is None
    assert pause(1, answer(after)) == pause(1)


def test_a_retry_after_is_seconds_or_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert pause(1, answer("7")) == 7
    assert pause(1, answer(soon)) == pytest.approx(30, abs=3)
    assert pause(1, answer("Wed, 21 Oct 2015 07:28:00 GMT")) == 0
    assert pause(1, answer("Wed, 21 Oct 2099 07:28:00 GMT")) is None
    assert pause(1, answer(str(int(LONGEST_WAIT) + 1))) is None


def test_the_pace_counts_bytes_of_a_whole_window(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("companion.hub.retry.time.monotonic", lambda: clock[0])
    pace = Pace(10)
    clock[0] = 9
    assert not pace.too_slow(1)
    clock[0] = 10
    assert pace.too_slow(1)
    clock[0] = 20
    assert not pace.too_slow(10_000)
    clock[0] = 50
    pace.leave_out(25)
    assert not pace.too_slow(0)
