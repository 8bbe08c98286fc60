"""The variables that decide how the hub is reached."""

import subprocess
import sys
from pathlib import Path

import pytest

from companion import hub
from companion.hub import environment

MIRROR = "https://hf-mirror.com"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, hub_library_not_read: None) -> None:
    """A laptop with nothing set."""
    for name in ("HF_ENDPOINT", "HF_HUB_DISABLE_XET", "COLAB_RELEASE_TAG", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in environment.PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("name", ["hf-mirror", MIRROR, MIRROR + "/"])
def test_an_endpoint_is_named_or_addressed_with_or_without_a_slash(name: str) -> None:
    assert hub.endpoint(name) == hub.Endpoint("hf-mirror", MIRROR, official=False)


def test_without_a_name_the_variable_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.endpoint().official
    monkeypatch.setenv("HF_ENDPOINT", "http://10.0.0.1:8080/")
    assert hub.endpoint() == hub.Endpoint("10.0.0.1:8080", "http://10.0.0.1:8080", official=False)


def test_a_wrong_endpoint_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no endpoint 'hf-mirror.com'; choose auto, official, hf"):
        hub.endpoint("hf-mirror.com")


def test_nothing_set_clashes_with_nothing() -> None:
    assert hub.clashes() == []


def test_a_slash_at_the_end_of_the_mirror_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", MIRROR + "/")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    (sentence,) = hub.clashes()
    assert sentence.endswith(f"set HF_ENDPOINT={MIRROR}.")


def test_a_mirror_on_colab_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", MIRROR)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    (sentence,) = hub.clashes()
    assert "Colab" in sentence
    assert "unset HF_ENDPOINT" in sentence


def test_a_mirror_behind_a_proxy_is_a_fault_that_does_not_show_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", MIRROR)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("https_proxy", "http://me:secret@10.1.1.1:3128")
    (sentence,) = hub.clashes()
    assert "10.1.1.1:3128" in sentence
    assert "secret" not in sentence


def test_a_cache_on_the_system_disk_of_autodl_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shared = Path("/dev/shm")  # another disk than the home folder's
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no second disk")
    monkeypatch.setattr(environment, "AUTODL_DATA_DISK", shared)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "not" / "yet"))
    (sentence,) = hub.clashes()
    assert "set HF_HOME=/dev/shm/huggingface" in sentence
    monkeypatch.setenv("HF_HOME", "/dev/shm/huggingface")
    assert hub.clashes() == []


def test_the_lines_for_a_mirror_unset_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://10.1.1.1:3128")
    lines = hub.export_lines(hub.endpoint("hf-mirror")).splitlines()
    assert f"export HF_ENDPOINT={MIRROR}" in lines
    assert "export HF_HUB_DISABLE_XET=1" in lines
    assert "export HF_HUB_DISABLE_IMPLICIT_TOKEN=1" in lines
    assert lines[-1] == "unset https_proxy"


def test_the_lines_for_the_official_endpoint_undo_those_for_a_mirror(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for line in hub.export_lines(hub.endpoint("hf-mirror")).splitlines():
        monkeypatch.setenv(*line.removeprefix("export ").split("="))
    undone = hub.export_lines(hub.endpoint("official"))
    assert undone.split()[0] == "unset"
    assert set(undone.split()[1:]) == {"HF_ENDPOINT", *environment.MIRROR}


def test_a_variable_set_after_the_import_is_found() -> None:
    code = (
        "import os, sys\n"
        "from companion import hub\n"
        "assert 'huggingface_hub' not in sys.modules\n"
        "os.environ['HF_ENDPOINT'] = 'https://in-time.example'\n"
        "import huggingface_hub.constants\n"
        "assert hub.too_late() == [], hub.too_late()\n"
        "os.environ['HF_ENDPOINT'] = 'https://too-late.example'\n"
        "print('\\n'.join(hub.too_late()))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    (sentence,) = answer.stdout.splitlines()
    assert sentence.startswith("HF_ENDPOINT was changed to https://too-late.example after")
    assert "restart Python" in sentence


@pytest.fixture
def turbo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script like AutoDL's."""
    for name in environment.PROXIES:
        # So that what the script sets is taken back after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    script = tmp_path / "network_turbo"
    script.write_text(
        "echo 设置成功\nexport http_proxy=http://10.0.0.1:12798\n"
        "export https_proxy=http://10.0.0.1:12798\nexport OTHER=1\n",
        encoding="utf-8",
    )
    return script


def test_the_proxy_of_autodl_reaches_this_process(turbo: Path) -> None:
    assert hub.use_autodl_proxy(turbo) == ["http_proxy", "https_proxy"]
    assert environment.proxy() == "http://10.0.0.1:12798"


def test_the_proxy_of_autodl_and_a_mirror_exclude_each_other(
    turbo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", MIRROR)
    with pytest.raises(ValueError, match="choose it or the proxy"):
        hub.use_autodl_proxy(turbo)
    assert environment.proxy() is None


def test_elsewhere_there_is_no_proxy_of_autodl(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="belongs to AutoDL's machines"):
        hub.use_autodl_proxy(tmp_path / "network_turbo")
