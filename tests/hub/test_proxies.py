"""Which proxy a request goes through, what is wrong with one, and no password in any sentence."""

import base64
import contextlib
import importlib.util
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from companion import hub as hubs
from companion.cli import main
from companion.hub import HubError, fetch, find_endpoint, probe
from companion.hub.proxies import proxy, proxy_fault
from faulty_hub import FaultyHub

MIRROR = "https://hf-mirror.com"
OFFICIAL = "https://huggingface.co"
NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
PASSWORD = "GEHEIM"
DEAD = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def no_proxy_set(
    cache: object, monkeypatch: pytest.MonkeyPatch, hub_library_not_read: None
) -> None:
    """A machine on which no proxy is set."""
    for name in (*NAMES, *map(str.upper, NAMES)):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "address", "goes_through"),
    [
        ({"https_proxy": DEAD}, MIRROR, DEAD),
        ({"HTTPS_PROXY": DEAD}, MIRROR, DEAD),
        ({"ALL_PROXY": DEAD}, MIRROR, DEAD),
        ({"https_proxy": "127.0.0.1:9"}, MIRROR, DEAD),
        ({"http_proxy": DEAD}, MIRROR, None),
        ({"https_proxy": DEAD}, "http://10.0.0.1", None),
        ({"https_proxy": DEAD, "no_proxy": "hf-mirror.com"}, MIRROR, None),
        ({"https_proxy": DEAD, "no_proxy": ".hf-mirror.com , localhost"}, MIRROR, None),
        ({"https_proxy": DEAD, "NO_PROXY": "*"}, MIRROR, None),
        ({"https_proxy": DEAD, "no_proxy": "*.com"}, MIRROR, None),
        ({"https_proxy": DEAD, "no_proxy": "mirror.com"}, MIRROR, DEAD),
        ({"http_proxy": DEAD, "no_proxy": "10.0.0.0/8"}, "http://10.1.2.3:80", None),
        ({"http_proxy": DEAD, "no_proxy": "10.0.0.0/8"}, "http://11.1.2.3:80", DEAD),
        ({"https_proxy": f"http://me:{PASSWORD}@127.0.0.1:9"}, OFFICIAL, DEAD),
        ({"https_proxy": f"http://me:{PASSWORD}#@/@127.0.0.1:9"}, OFFICIAL, DEAD),
    ],
)
def test_the_proxy_of_an_address(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    address: str,
    goes_through: str | None,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy(address) == goes_through


def test_a_mirror_that_no_proxy_names_clashes_with_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", MIRROR)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("https_proxy", DEAD)
    assert len(hubs.clashes()) == 1
    monkeypatch.setenv("no_proxy", "localhost,hf-mirror.com")
    assert hubs.clashes() == []


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("socks://127.0.0.1:9/", "set all_proxy=socks5://127.0.0.1:9, or unset all_proxy"),
        (f"socks://me:{PASSWORD}@127.0.0.1:9", "write socks5:// in its place"),
        ("socks5://127.0.0.1:9", "python -m pip install 'httpx[socks]', or unset all_proxy"),
        ("gopher://127.0.0.1", "unset all_proxy"),
        ("http://127.0.0.1:port", "set all_proxy to one such as http://127.0.0.1:7890"),
        ("http://127.0.0.1:99999", "set all_proxy to one such as"),
        ("http://[::1", "set all_proxy to one such as"),
        ("http://127.0.0.1:9\n", "set all_proxy to one such as"),
        (f"http://me:ge#{PASSWORD}@127.0.0.1:9", "write %23 for #"),
        (f"http://me:12/{PASSWORD}@127.0.0.1:9", "%2F for /"),
    ],
)
def test_a_proxy_that_no_library_can_use_is_found_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, value: str, remedy: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # no socksio
    monkeypatch.setenv("all_proxy", value)
    (sentence,) = map(str, hubs.clashes())
    assert sentence == str(proxy_fault())
    assert sentence.startswith("all_proxy")
    assert remedy in sentence.partition("; ")[2]
    assert PASSWORD not in sentence
    monkeypatch.setenv("no_proxy", "*")
    assert proxy_fault() is None


@pytest.mark.parametrize("value", ["http://127.0.0.1:7890", "127.0.0.1:7890", "https://p:1/"])
def test_a_proxy_that_can_be_used_has_no_fault(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("https_proxy", value)
    assert proxy_fault() is None


def test_a_proxy_that_is_not_running_is_blamed_and_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://me:{PASSWORD}@127.0.0.1:9")
    with pytest.raises(HubError) as caught:
        fetch(2, "full", where="official", progress=False)
    for sentence in (str(caught.value), probe("official").sentence):
        assert f"the proxy {DEAD} refuses the connection; start the proxy program" in sentence
        assert "unset https_proxy" in sentence
        assert PASSWORD not in sentence


def test_a_socks_proxy_without_its_package_is_said_by_fetch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if importlib.util.find_spec("socksio"):
        pytest.skip("socksio is installed here")
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:9")
    with pytest.raises(HubError, match=r"pip install 'httpx\[socks\]'"):
        fetch(2, "full", where="official", progress=False)
    with pytest.raises(ConnectionError, match=r"pip install 'httpx\[socks\]'"):
        hubs.choose("auto")


def test_a_folder_needs_no_proxy_whatever_it_is(
    repositories: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "socks://127.0.0.1:9/")
    assert fetch("google/ddpm-cat-256@main", where=str(repositories), progress=False)


Serve = Callable[[type[BaseHTTPRequestHandler]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def start(handler: type[BaseHTTPRequestHandler]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def answering(status: int, body: bytes = b"", **headers: str) -> type[BaseHTTPRequestHandler]:
    """A server that answers everything with the same."""

    class Same(BaseHTTPRequestHandler):
        def do(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_CONNECT = do

        def log_message(self, *_: object) -> None:
            pass

    return Same


LOG_IN = "the network want you to log in first"


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (answering(200, b"<html>", Content_Type="text/html"), LOG_IN),
        (answering(200, b"hello"), LOG_IN),
        (answering(200, b"[1, 2]"), LOG_IN),
        (answering(200, b"[" * 100_000), LOG_IN),
        (answering(200), LOG_IN),
        (answering(403, b"<html>", Content_Type="text/html"), "answers 403"),
        (answering(511), "answers 511"),
        (answering(302, Location="file:///etc/passwd"), "sends you on"),
        (answering(302, Location="http://"), "sends you on to what is no address"),
        (answering(302, Location="http://[::1"), "sends you on to what is no address"),
        (answering(302, Location=f"http://{'a' * 64}.com"), "sends you on to what is no address"),
        (answering(302, Location=""), "sends you round in circles"),
        (answering(302, Location="http://127.0.0.1:40404"), "127.0.0.1:40404"),
        (answering(302, Location="http://127.0.0.1:40404"), "; outside China use the official"),
        (answering(308, Location=f"http://me:{PASSWORD}@127.0.0.1:9/x"), "127.0.0.1:9"),
        (answering(308, Location="http://e\x1b]0;vil\x07.example/x"), "; "),
    ],
    ids=[
        *("page", "text", "list", "deep", "nothing", "403", "511", "file"),
        *(
            "no host",
            "half a host",
            "no name",
            "itself",
            "port",
            "a port is no status",
            "password",
            "codes",
        ),
    ],
)
def test_an_odd_answer_is_one_sentence_without_codes_and_passwords(
    serve: Serve, handler: type[BaseHTTPRequestHandler], words: str
) -> None:
    address = serve(handler)
    with pytest.raises(HubError) as caught:
        fetch(2, "full", where=address, progress=False)
    route = probe(address)
    assert not route.ok
    for sentence in (str(caught.value), route.sentence):
        assert words in sentence
        assert sentence.isprintable()
        assert PASSWORD not in sentence


def test_a_proxy_that_wants_a_password_is_named(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", serve(answering(407)))
    with pytest.raises(HubError, match="wants a name and a password, or other ones; write the"):
        fetch(2, "full", where="official", progress=False)
    assert "it wants a name and a password" in probe("official").sentence


def test_a_host_that_speaks_no_tls_is_said(serve: Serve) -> None:
    address = serve(answering(200)).replace("http:", "https:")
    assert "does not speak TLS" in probe(address).sentence
    with pytest.raises(HubError, match="does not speak TLS"):
        fetch(2, "full", where=address, progress=False)


def test_a_certificate_of_somebody_else_is_said(serve: Serve) -> None:
    from companion.hub.reasons import tls_reason

    error = ssl.SSLCertVerificationError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")
    assert "something stands between" in tls_reason(str(error))
    late = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate has expired"
    assert "is this machine's clock right?" in tls_reason(late)


@pytest.mark.parametrize("rest", ["#x", "/x", "@x", "?x", ":x", ""])
def test_a_password_in_the_endpoint_is_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, rest: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://me:{PASSWORD}{rest}{PASSWORD}@127.0.0.1:9")
    said = list(map(str, hubs.clashes()))
    try:
        endpoint = find_endpoint()
        said += [
            endpoint.host,
            endpoint.shown,
            endpoint.bare,
            endpoint.name,
            hubs.export_lines(endpoint),
        ]
        said += [part.url for part in probe(endpoint).parts] + [probe(endpoint).sentence]
        said += [hubs.choose(endpoint.address)[1]]
        with pytest.raises(HubError) as caught:
            fetch(2, "full", progress=False)
        said.append(str(caught.value))
    except ValueError as error:
        said.append(str(error))
        assert "write %23 for #" in said[-1]
    assert said
    assert PASSWORD not in " ".join(said)


@pytest.mark.parametrize(
    "address",
    [
        "https://hf-mirror.com\n",
        "https://hf-mirror.com/\x1b[31m",
        "https://hf mirror.com",
        "https://",
        "https://[::1",
        "http://host:port",
        "http://host:0",
        "gopher://host",
        "http://127.0.0.1:99999",
        "https://host/?x=1",
        "https://a..b",
        "https://host\\x",
        "https://fa\u00df.example",
        f"https://{'a' * 64}.com",
        f"https://{'a.' * 150}com",
    ],
)
def test_what_is_no_address_is_refused_in_one_printable_line(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(ValueError, match="There is no endpoint") as caught:
        find_endpoint()
    assert str(caught.value).isprintable()
    assert hubs.clashes()[0].text.startswith("HF_ENDPOINT is wrong: ")


@pytest.mark.parametrize("rest", ["?token=", "#", "/?", "/x#y=", ";t=", "?a&b="])
def test_what_may_be_a_secret_behind_an_endpoint_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rest: str
) -> None:
    address = f"https://host{rest}{PASSWORD}"
    assert main(["fetch", "2", "--profile", "full", "--endpoint", address]) == 2
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert main(["fetch", "2", "--profile", "full"]) == 2
    assert main(["doctor", "Variables", "Endpoint"]) == 2
    assert main(["doctor", "--json", "Variables", "Endpoint"]) == 2
    said = "".join(capsys.readouterr())
    assert PASSWORD not in said
    assert said.count("There is no endpoint 'https://host") == 6
    assert ("an endpoint has no ? and no #" in said) is (rest != ";t=")


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("http://HUB.Local:80/", "hub.local"),
        ("https://hub:443", "hub"),
        ("http://hub:443", "hub:443"),
        ("http://[::1]:9", "[::1]:9"),
        ("http://b\u00fccher.example", "xn--bcher-kva.example"),
    ],
)
def test_a_host_is_called_as_requests_name_it(address: str, host: str) -> None:
    """Another would be taken for the host of large files."""
    import httpx

    assert find_endpoint(address).host == host
    assert httpx.URL(address).netloc.decode() == host


@pytest.mark.parametrize("host", ["\u2603.example", "\u3164.com"])
def test_a_name_that_is_one_by_older_rules_only_is_one_sentence(host: str) -> None:
    with pytest.raises(HubError, match="is no name that a host can have"):
        fetch(2, "full", where=f"http://{host}", progress=False)
    assert "has no address here" in probe(f"http://{host}").sentence


def test_a_name_and_a_password_in_the_endpoint_go_with_a_probe(hub: FaultyHub) -> None:
    address = hub.address.replace("//", f"//me:p%23w{PASSWORD}@")
    assert probe(address).ok
    told = base64.b64encode(f"me:p#w{PASSWORD}".encode()).decode()
    asked = [request.headers.get("authorization") for request in hub.heard if request.host == "hub"]
    assert asked == [f"Basic {told}"] * 3


def test_a_name_of_ours_in_hf_endpoint_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "hf-mirror")
    assert f"set HF_ENDPOINT={MIRROR}" in [advice.remedy for advice in hubs.clashes()]


@pytest.fixture
def socks() -> Iterator[Callable[..., str]]:
    """A SOCKS5 proxy that asks for a name and password, or answers with a status of its own."""
    listeners = []

    def start(password: bytes = b"", status: int = 0) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve_all() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(
                    target=_serve_socks, args=(client, password, status), daemon=True
                ).start()

        threading.Thread(target=serve_all, daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _serve_socks(client: socket.socket, password: bytes, status: int) -> None:
    with contextlib.suppress(OSError), client, client.makefile("rb") as asked:
        methods = asked.read(asked.read(2)[1])
        client.sendall(b"\5" + (b"\2" if password else b"\0"))
        if password:
            if 2 not in methods:
                return
            name = asked.read(asked.read(2)[1])
            right = asked.read(asked.read(1)[0]) == password and name == b"me"
            client.sendall(b"\1\0" if right else b"\1\1")
            if not right:
                return
        host = asked.read(asked.read(5)[4]).decode()
        port = int.from_bytes(asked.read(2), "big")
        client.sendall(bytes([5, status, 0, 1]) + b"\0" * 6)
        assert host == "hub.example"  # a name is looked up by the proxy
        with socket.create_connection(("127.0.0.1", port)) as up, up.makefile("rb") as said:
            while (line := asked.readline()).strip():
                up.sendall(line)
            up.sendall(b"\r\n")
            client.sendall(said.read())


@pytest.mark.parametrize(
    ("password", "user", "status", "words"),
    [
        (b"", "", 0, "works, large files too"),
        (b"p#w", "me:p%23w@", 0, "works, large files too"),
        (b"p#w", "me:other@", 0, "wants another name or password; write the right ones into"),
        (b"", "", 4, "cannot reach the host; let the proxy program take another way"),
    ],
)
def test_a_probe_goes_through_a_socks_proxy(
    serve: Serve,
    socks: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    password: bytes,
    user: str,
    status: int,
    words: str,
) -> None:
    port = serve(answering(200, b"{")).rpartition(":")[2]
    monkeypatch.setenv("all_proxy", f"socks5h://{user}{socks(password, status)}")
    assert words in probe(f"http://hub.example:{port}").sentence
