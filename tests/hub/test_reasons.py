"""One fault is called the same, whichever library raised it."""

import http.client
import socket
import ssl
import sys

import pytest

from companion.hub.asking import request_error
from companion.hub.reasons import proxy_reason, reason


def of_the_library(name: str, text: str) -> Exception:
    """An exception of the HTTP library that huggingface_hub takes."""
    library = sys.modules[request_error().__module__.partition(".")[0]]
    error: Exception = getattr(library, name)(text)
    return error


@pytest.mark.parametrize(
    ("python", "name", "text", "says"),
    [
        (ConnectionRefusedError(), "ConnectError", "Connection refused", "refuses the connection"),
        (socket.gaierror(), "ConnectError", "Name or service not known", "has no address here"),
        (TimeoutError(), "ConnectTimeout", "", "does not answer within the time limit"),
        (ConnectionResetError(), "ReadError", "", "cut the connection"),
        (http.client.RemoteDisconnected(), "RemoteProtocolError", "", "cut the connection"),
        (
            ssl.SSLError("certificate has expired"),
            "ConnectError",
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate has expired",
            "shows a certificate that is not valid today",
        ),
        (OSError("odd"), "UnsupportedProtocol", "odd", "cannot be reached (odd)"),
    ],
)
def test_a_host_that_fails(python: Exception, name: str, text: str, says: str) -> None:
    assert reason(python) == reason(of_the_library(name, text))
    assert reason(python).startswith(says)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("407 Proxy Authentication Required", "answers 407: it wants a name and a password"),
        ("403 Forbidden", "answers 403: it does not let you in"),
        ("never", "turns the request away"),
    ],
)
def test_a_proxy_that_turns_a_request_away(told: str, says: str) -> None:
    python = OSError(f"Tunnel connection failed: {told}")
    library = of_the_library("ProxyError", told)
    assert proxy_reason(python, "http://p") == proxy_reason(library, "http://p")
    assert proxy_reason(python, "http://p").startswith(says)


def test_what_is_not_the_proxys_is_not_blamed_on_it() -> None:
    for error in (ConnectionResetError(), of_the_library("ReadError", ""), TimeoutError()):
        assert proxy_reason(error, "http://p") == ""
