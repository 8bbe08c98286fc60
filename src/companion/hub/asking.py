"""A question to a host: redirects are followed where they may lead, and the answer takes no longer
and has no more bytes than it should."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from .endpoints import Endpoint, bare_address, leads_on
from .errors import HubError, sent_nowhere, sent_on, too_slow
from .retry import Pace
from .tokens import Token

logger = logging.getLogger(__name__)

REDIRECTS = 10
# How often the limit of one silence an answer's headers may take, which can come byte by byte.
HEADERS = 2.0


@contextmanager
def asked(
    url: str,
    endpoint: Endpoint,
    token: Token,
    timeout: float,
    *,
    start: int = 0,
    stay: bool = False,
) -> Iterator[Any]:
    """The answer of a host to GET, its body not yet read; closed afterwards.

    Args:
        url: of the endpoint.
        endpoint: the endpoint.
        token: for the endpoint; redirects to another host do not get it.
        timeout: limit of a silence in seconds.
        start: first byte that is asked for.
        stay: whether a redirect to another host is refused.

    Raises:
        HubError: it redirects in circles, to what is no address, or away; or its headers do not
            end.
    """
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers

    session = get_session()
    headers = build_hf_headers(token=token, library_name="companion")
    headers["Accept-Encoding"] = "identity"
    if start:
        headers["Range"] = f"bytes={start}-"
    question = session.build_request("GET", url, headers=headers, timeout=timeout)
    logger.debug(
        "GET %s%s%s",
        bare_address(url).partition("?")[0],
        f" from byte {start:,}" if start else "",
        " with your token" if token else "",
    )
    for _ in range(REDIRECTS):
        began = time.monotonic()
        send = partial(session.send, question, stream=True, follow_redirects=False)
        host = question.url.netloc.decode()
        try:
            answer = _within(HEADERS * timeout, send, endpoint, host)
        except Exception as error:
            # The httpx of huggingface_hub 1 reads where it is sent before it gives the answer.
            if type(error).__name__ == "InvalidURL" or "location header" in str(error):
                raise sent_nowhere(endpoint, host) from None
            raise
        # Of a redirect no more than the host: what follows may be signed.
        seconds = time.monotonic() - began
        logger.debug("%s answers %d after %.2f s", host, answer.status_code, seconds)
        if not answer.has_redirect_location:
            break
        answer.close()
        following, location = answer.next_request, answer.headers["Location"]
        known = following is not None and following.url.scheme in ("http", "https")
        if not (known and leads_on(location)):
            raise sent_nowhere(endpoint, host)
        if stay and _away(question.url, following.url):
            raise sent_on(endpoint, following.url.netloc.decode())
        question = following
    else:
        raise HubError(
            f"{endpoint.shown} sends you round in circles; try again later, or take another "
            "endpoint."
        )
    try:
        yield answer
    finally:
        answer.close()


def read(answer: Any, endpoint: Endpoint, limit: int, timeout: float) -> bytes:
    """The whole body of a small answer.

    Raises:
        HubError: it has more bytes than `limit`, or they come too slowly.
    """
    pace, body = Pace(timeout), bytearray()
    for chunk in answer.iter_bytes():
        body += chunk
        if len(body) > limit:
            raise HubError(
                f"{endpoint.shown} sends more than {limit // 10**6} MB where a list of files "
                "belongs: take another endpoint."
            )
        if pace.too_slow(len(chunk)):
            raise too_slow(endpoint, answer.url.netloc.decode())
    return bytes(body)


def refusal(answer: Any) -> Exception:
    """The exception of the hub's library for an answer that says no; its body is not read."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError(f"status {answer.status_code}", response=answer)


def request_error() -> type[Exception]:
    """What a cut, a stall or a dead host raises, in the HTTP library that huggingface_hub uses."""
    from huggingface_hub import get_session

    library = sys.modules[type(get_session()).__module__.partition(".")[0]]
    error: type[Exception] = library.RequestError
    return error


def _away(url: Any, target: Any) -> bool:
    """Whether a redirect leads to another host, and is not just the way to https."""
    secured = (url.scheme, target.scheme) == ("http", "https") and target.host == url.host
    return target.netloc != url.netloc and not secured


def _within(seconds: float, send: Callable[[], Any], endpoint: Endpoint, host: str) -> Any:
    """What a function gives, if it does within so many seconds: the library's limit begins anew
    with each byte. A thread that is too late is left behind, and closes what it gets."""
    outcome: SimpleQueue[Any] = SimpleQueue()
    late: SimpleQueue[None] = SimpleQueue()

    def run() -> None:
        try:
            answer = send()
        except BaseException as error:
            outcome.put(error)
            return
        outcome.put(answer)
        if not late.empty():
            answer.close()

    Thread(target=run, daemon=True).start()
    try:
        answer = outcome.get(timeout=seconds)
    except Empty:
        late.put(None)
        raise too_slow(endpoint, host) from None
    if isinstance(answer, BaseException):
        raise answer
    return answer
