"""What the chapters bring along, the removed models, the kernel."""

import json
import os
import sys
from pathlib import Path

import pytest

from companion.doctor import Verdict, book, interpreter, removed
from companion.doctor.probe import Answer
from companion.hub import replacements
from companion.sources import sources
from companion.zoo import registry
from damage import changeable_copy


def test_the_embedded_models_are_whole() -> None:
    (finding,) = book.check_zoo()
    assert finding.verdict is Verdict.GOOD


def test_a_flipped_byte_in_an_embedded_model_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "weights"
    changeable_copy(registry.WEIGHTS, copy)
    file = copy / "ddpm" / "config.json"
    file.write_bytes(b" " + file.read_bytes()[1:])
    monkeypatch.setattr(registry, "WEIGHTS", copy)
    registry.entries.cache_clear()
    (finding,) = book.check_zoo()
    registry.entries.cache_clear()
    assert finding.verdict is Verdict.PROBLEM
    assert "ddpm: config.json is not the registered file" in finding.text


def test_a_profile_that_is_not_there_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPANION_PROFILE", "medium")
    assert book.check_profile()[0].verdict is Verdict.PROBLEM


@pytest.mark.parametrize(
    ("version", "verdict"),
    [(None, Verdict.GOOD), ("1.0.4.post1", Verdict.GOOD), ("2.1.0", Verdict.PROBLEM)],
)
def test_jupyter_book_2_is_another_program(
    version: str | None, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "installed", lambda _: version)
    assert book.check_builder()[0].verdict is verdict


def test_the_profiles_ask_for_no_removed_model() -> None:
    (finding,) = removed.check_removed()
    assert finding.verdict is Verdict.GOOD


def test_a_removed_model_in_the_cache_is_named_with_what_replaces_it(bare_machine: Path) -> None:
    cache = bare_machine / ".cache" / "huggingface" / "hub"
    (cache / "models--runwayml--stable-diffusion-v1-5").mkdir(parents=True)
    (finding,) = removed.check_removed()
    assert finding.verdict is Verdict.WARNING
    assert finding.text.startswith("runwayml/stable-diffusion-v1-5 is in the cache alone")
    assert finding.remedy == "load stable-diffusion-v1-5/stable-diffusion-v1-5 in its place"


def test_nothing_that_was_removed_replaces_a_removed_model() -> None:
    gone = set(replacements())
    assert not gone & set(replacements().values())
    assert not gone & {source.hub for source in sources("full").values()}


def kernel(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> interpreter.Finding:
    monkeypatch.setattr(interpreter, "_running_kernel", lambda: None)
    monkeypatch.setattr(interpreter, "ask", lambda _: answer)
    (finding,) = interpreter.check_kernel()
    return finding


def test_a_kernel_of_another_environment_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"argv": ["/opt/conda/bin/python", "-m"], "folder": "/root/.local/share/jupyter"}
    finding = kernel(monkeypatch, Answer(facts))
    assert finding.verdict is Verdict.PROBLEM
    assert "another environment, /opt/conda" in finding.text
    assert "ipykernel install --user" in finding.remedy


def test_a_kernel_of_this_environment_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"argv": [sys.executable, "-m"], "folder": "/x"}
    assert kernel(monkeypatch, Answer(facts)).verdict is Verdict.GOOD


def test_the_jupyter_of_another_environment_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jupyter").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = kernel(monkeypatch, Answer({"argv": ["python", "-m"], "folder": "/x"}))
    assert finding.verdict is Verdict.WARNING
    assert finding.remedy.endswith("-m jupyterlab")


def test_no_jupyter_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = kernel(monkeypatch, Answer({}, "ModuleNotFoundError: No module named 'jupyter_cl"))
    assert finding.text == "Jupyter has none here"


def test_jupyter_is_really_asked(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = tmp_path / "data" / "kernels" / "python3"
    described.mkdir(parents=True)
    spec = {"argv": [f"{tmp_path}/env/bin/python"], "display_name": "x", "language": "python"}
    (described / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "data"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    monkeypatch.setattr(interpreter, "_running_kernel", lambda: None)
    assert f"another environment, {tmp_path}/env" in interpreter.check_kernel()[0].text


def test_outside_a_notebook_there_is_no_running_kernel() -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")
    assert interpreter._running_kernel() is None or "JPY_PARENT_PID" in os.environ
