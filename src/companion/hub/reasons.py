"""What a host or a proxy does that fails, from the exception of whichever HTTP library: the middle
of a sentence, such as "refuses the connection".

Python's own exceptions are known by their class, those of the library that huggingface_hub takes
(httpx) by their name: it is not imported for that."""

from __future__ import annotations

import http.client
import socket
import ssl

from companion.door import printable, without_password

from .socks import SocksError

NO_NAME = ("Name or service", "name resolution", "nodename")
CUT = ("ReadError", "RemoteProtocolError", "WriteError", "ConnectError")
CUT_BY_PYTHON = (
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
    http.client.HTTPException,
)
TUNNEL = "Tunnel connection failed: "  # urllib's words, before the status


def reason(error: object) -> str:
    """What a host does that fails.

    Args:
        error: an exception, or the text that urllib gives in its place.
    """
    kind, text = type(error).__name__, str(error)
    if isinstance(error, TimeoutError) or "Timeout" in kind:
        return "does not answer within the time limit"
    if isinstance(error, socket.gaierror) or any(words in text for words in NO_NAME):
        return "has no address here: the name is unknown or blocked"
    if isinstance(error, ConnectionRefusedError) or "refused" in text:
        return "refuses the connection"
    if sentence := tls_reason(f"SSL {text}" if isinstance(error, ssl.SSLError) else text):
        return sentence
    if kind in CUT or isinstance(error, CUT_BY_PYTHON):
        return "cut the connection"
    if kind == "DecodingError":
        return "sends what cannot be unpacked"
    if kind == "InvalidURL":  # it is one by older rules than the HTTP library's
        return "is no name that a host can have"
    text = printable(without_password(text.splitlines()[0][:200])) if text else kind
    return f"cannot be reached ({text})"


def proxy_reason(error: object, proxy: str) -> str:
    """What a proxy does that fails, or "" if it is not the proxy.

    Args:
        error: what came of a request that went through it.
        proxy: its address.
    """
    kind, text = type(error).__name__, str(error)
    if isinstance(error, SocksError):
        return text
    told = text.rpartition(TUNNEL)[2]
    if TUNNEL in text or kind == "ProxyError":
        status = told[:3]
        return status_reason(int(status)) if status.isdecimal() else "turns the request away"
    if "WRONG_VERSION_NUMBER" in text and proxy.startswith("https:"):
        return "does not speak TLS, so it is an http:// address"
    not_connected = kind in ("ConnectError", "ConnectTimeout") and "SSL" not in text
    if not_connected or isinstance(error, (socket.gaierror, ConnectionRefusedError)):
        return reason(error)
    return ""


def status_reason(status: int) -> str:
    """What a host does that answers with a status."""
    if status == 404:
        return "answers 404: it has no copy of the file"
    if status in (401, 403):
        return f"answers {status}: it does not let you in"
    if status == 407:
        return "answers 407: it wants a name and a password, or other ones"
    if status == 429:
        return "answers 429: too many requests"
    return f"answers {status}"


def tls_reason(text: str) -> str:
    """What is wrong with the encryption, by the words of Python's ssl; "" for other words."""
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER" in text:
        return "does not speak TLS: something stands between you and it, or its address is http://"
    if "expired" in text or "not yet valid" in text:
        return "shows a certificate that is not valid today: is this machine's clock right?"
    if "EOF" in text and "SSL" in text:
        return "cut the connection"
    if "CERTIFICATE" in text or "SSL" in text:
        return "shows a certificate that is not its own: something stands between you and it"
    return ""
