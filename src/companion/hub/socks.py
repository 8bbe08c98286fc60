"""A connection through a SOCKS5 proxy (RFC 1928, 1929), which urllib does not know."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.request
from typing import Any
from urllib.parse import unquote, urlsplit

NO_PASSWORD, PASSWORD = 0, 2
# RFC 1928, section 6.
REFUSALS = {
    1: "fails",
    2: "does not allow this",
    3: "cannot reach the network",
    4: "cannot reach the host",
    5: "finds that the host refuses",
}


class SocksError(OSError):
    """The proxy says no; the message says how: "wants a password"."""


def connect(proxy: str, host: str, port: int, timeout: float) -> socket.socket:
    """A connection to a host by its name, which the proxy looks up.

    Raises:
        SocksError: the proxy refuses.
        OSError: the proxy does not answer, or says what no proxy says.
    """
    parts = urlsplit(proxy)
    to_proxy = socket.create_connection((parts.hostname or "", parts.port or 1080), timeout)
    try:
        _greet(to_proxy, unquote(parts.username or ""), unquote(parts.password or ""))
        name = host.encode("idna")
        to_proxy.sendall(b"\5\1\0\3" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
        _, status, _, kind = _take(to_proxy, 4)
        if status:
            raise SocksError(REFUSALS.get(status, f"answers {status}"))
        length = {1: 4, 4: 16}.get(kind) or _take(to_proxy, 1)[0]
        _take(to_proxy, length + 2)  # the address that it went from
    except BaseException:
        to_proxy.close()
        raise
    return to_proxy


def _greet(to_proxy: socket.socket, user: str, password: str) -> None:
    methods = bytes([NO_PASSWORD, PASSWORD] if user else [NO_PASSWORD])
    to_proxy.sendall(b"\5" + bytes([len(methods)]) + methods)
    version, method = _take(to_proxy, 2)
    if version != 5:
        raise SocksError("does not speak SOCKS5, so it is perhaps an http:// address")
    if method == PASSWORD:
        words = [text.encode()[:255] for text in (user, password)]
        to_proxy.sendall(b"\1" + b"".join(bytes([len(word)]) + word for word in words))
        if _take(to_proxy, 2)[1]:
            raise SocksError("wants another name or password")
    elif method != NO_PASSWORD:
        raise SocksError("wants a name and a password")


def _take(to_proxy: socket.socket, number: int) -> bytes:
    taken = b""
    while len(taken) < number:
        more = to_proxy.recv(number - len(taken))
        if not more:
            raise SocksError("cuts the connection")
        taken += more
    return taken


class SocksHandler(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    """Opens both kinds of addresses through a proxy."""

    def __init__(self, proxy: str) -> None:
        super().__init__()
        self.proxy = proxy

    def http_open(self, request: urllib.request.Request) -> Any:
        """Open http://."""
        return self.do_open(_connection(self.proxy, http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> Any:
        """Open https://."""
        return self.do_open(_connection(self.proxy, http.client.HTTPSConnection), request)


def _connection(proxy: str, kind: type[http.client.HTTPConnection]) -> Any:
    class Connection(kind):  # type: ignore[misc, valid-type]
        def connect(self) -> None:
            self.sock = connect(proxy, self.host, self.port, self.timeout)
            if kind is http.client.HTTPSConnection:
                context = ssl.create_default_context()
                self.sock = context.wrap_socket(self.sock, server_hostname=self.host)

    return Connection
