"""Variables that contradict each other, the endpoint, the token."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from companion.doctor import Finding, Verdict, network, token
from companion.hub import Endpoint

MIRROR = "https://hf-mirror.com"
SECRET = "hf_" + "aB3" * 11  # made up


def variables() -> Finding:
    (finding,) = network.check_variables()
    return finding


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", MIRROR)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")


@pytest.fixture(autouse=True)
def not_read_yet(hub_library_not_read: None) -> None:
    """As in a fresh Python."""


def test_nothing_set_is_good() -> None:
    assert variables().verdict is Verdict.GOOD


def test_a_mirror_that_is_set_rightly_is_good(mirror: None) -> None:
    assert variables().text == "HF_ENDPOINT set, no contradiction"


def test_a_slash_at_the_end_is_found(mirror: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{MIRROR}/")
    assert variables().verdict is Verdict.WARNING
    assert variables().remedy == f"export HF_ENDPOINT={MIRROR}"


def test_a_mirror_on_colab_is_found(mirror: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    assert variables().remedy == "unset HF_ENDPOINT"


def test_proxy_and_mirror_together_are_found(mirror: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:7890")
    assert "choose one" in variables().text
    assert variables().remedy == "either unset HF_ENDPOINT, or unset https_proxy"


def test_what_the_full_profile_trips_over_is_a_problem(
    mirror: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    monkeypatch.setenv("COMPANION_PROFILE", "full")
    assert variables().verdict is Verdict.PROBLEM


def test_a_variable_set_too_late_is_found(mirror: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    read = SimpleNamespace(**(vars(constants) | {"ENDPOINT": "https://huggingface.co"}))
    monkeypatch.setattr(read, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(read, "HF_HOME", str(Path.home() / ".cache" / "huggingface"))
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", read)
    assert "HF_ENDPOINT was changed" in variables().text
    assert "restart Python" in variables().text + variables().remedy


def test_a_variable_that_nothing_reads_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMERS_CACHE", "/data")
    assert variables().remedy == "unset TRANSFORMERS_CACHE; today it is HF_HOME"


def test_where_the_companion_alone_fetches_from_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for right in ("modelscope", "auto", "offline", "hf-mirror", MIRROR, str(tmp_path)):
        monkeypatch.setenv("COMPANION_ENDPOINT", right)
        assert variables().text == "COMPANION_ENDPOINT set, no contradiction"
    monkeypatch.setenv("COMPANION_ENDPOINT", "modelscop")
    assert variables().verdict is Verdict.WARNING
    assert variables().text == "COMPANION_ENDPOINT leads nowhere: There is no endpoint 'modelscop'"
    assert variables().remedy.startswith("choose auto, official")


def test_an_endpoint_that_is_no_address_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "hf-mirror.com/x")
    assert network.check_endpoint()[0].verdict is Verdict.PROBLEM


class Answers(BaseHTTPRequestHandler):
    """Answers everything with one byte."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"{")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_an_endpoint_that_works_shows_its_latency(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server)
    (finding,) = network.check_endpoint()
    assert finding.verdict is Verdict.GOOD
    assert finding.text.count(" ms from 127.0.0.1") == 3


def test_an_endpoint_that_is_dead_is_a_warning_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (finding,) = network.check_endpoint()
    assert finding.verdict is Verdict.WARNING
    assert "refuses the connection" in finding.text
    assert finding.remedy


def test_for_a_dead_endpoint_one_that_works_is_named(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = Endpoint("works", server, official=True)
    monkeypatch.setattr(network, "endpoints", lambda: {"works": works})
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (finding,) = network.check_endpoint()
    assert finding.remedy.startswith(f"{works.host} works; before Python starts: unset HF_ENDPOINT")


def test_on_colab_no_mirror_is_named(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "endpoints", lambda: {"mirror": Endpoint("mirror", server)})
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "works; before" in network.check_endpoint()[0].remedy
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    assert "works; before" not in network.check_endpoint()[0].remedy


def test_offline_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert network.check_endpoint()[0].text.startswith("not asked")


def the_token() -> Finding:
    (finding,) = token.check_token()
    return finding


def test_no_token_is_good() -> None:
    assert the_token().verdict is Verdict.GOOD
    assert the_token().text.startswith("no;")


def test_a_token_is_found_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, bare_machine: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert the_token() == Finding("Token", Verdict.GOOD, "yes, in HF_TOKEN (not shown)")
    monkeypatch.delenv("HF_TOKEN")
    file = bare_machine / ".cache" / "huggingface" / "token"
    file.parent.mkdir(parents=True)
    file.touch(mode=0o600)
    file.write_text(SECRET)
    assert the_token().text == "yes, in ~/.cache/huggingface/token (not shown)"
    file.chmod(0o644)
    assert the_token().remedy == "chmod 600 ~/.cache/huggingface/token"


def test_a_token_that_would_go_to_a_mirror_is_a_warning(
    mirror: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert "takes it to hf-mirror.com" in the_token().text
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert the_token().verdict is Verdict.GOOD


def test_the_notes_placeholder_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_***")
    assert the_token().verdict is Verdict.WARNING
    assert "hf_***" not in the_token().text
