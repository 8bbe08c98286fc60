"""What tests of several modules share."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["faulty_hub"]

# Before torch is imported, here and in children. Forty steps of a small UNet with two threads on a
# busy machine: 67 s where they wait for each other in a spin, 0.6 s where they sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(scope="session", autouse=True)
def signals_reach_children() -> None:
    """What the tests ignore, their children would: Ctrl-C after `&`, SIGHUP under nohup."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # A handler is not inherited, and the tests themselves go on when the terminal closes.
        signal.signal(signal.SIGHUP, lambda number, frame: None)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums then come in one order, and a forked child does not wait for threads that it lacks."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def hub_library_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a fresh Python: huggingface_hub has not read its variables yet."""
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        # A test that imports it anew replaces the package's attribute too: this puts it back.
        monkeypatch.setattr(sys.modules["huggingface_hub"], "constants", constants)
    monkeypatch.delitem(sys.modules, "huggingface_hub.constants", raising=False)


@pytest.fixture(autouse=True)
def token_not_kept_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a fresh Python: `keep_token_home` is for the whole process, and children inherit it."""
    name = "HF_HUB_DISABLE_IMPLICIT_TOKEN"
    monkeypatch.setenv(name, "")  # so that the end of the test puts it back
    monkeypatch.delenv(name)
    if constants := sys.modules.get("huggingface_hub.constants"):
        monkeypatch.setattr(constants, name, False)


@pytest.fixture
def no_home_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home folder, as containers have them."""

    def unknown(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """torch's compiler for CPUs writes its paths without quotes (seen in 2.13)."""
    if item.get_closest_marker("compiles") and " " in sys.prefix:
        pytest.skip("torch cannot compile from a path with a space")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA GPU, and torch sees none: `make gpu` where there is one")
