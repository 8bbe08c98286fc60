"""The variables that decide how the hub is reached."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import close_session

from companion import hub
from companion.cli import main
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
    assert hub.find_endpoint(name) == hub.Endpoint("hf-mirror", MIRROR, official=False)


def test_without_a_name_the_variable_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.find_endpoint().official
    monkeypatch.setenv("HF_ENDPOINT", "http://10.0.0.1:8080/")
    own = hub.Endpoint("10.0.0.1:8080", "http://10.0.0.1:8080", official=False)
    assert hub.find_endpoint() == own


def test_a_wrong_endpoint_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no endpoint 'hf-mirror.com'; choose auto, official, hf"):
        hub.find_endpoint("hf-mirror.com")


def test_nothing_set_clashes_with_nothing() -> None:
    assert hub.clashes() == []


def test_a_slash_at_the_end_of_the_mirror_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", MIRROR + "/")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    (sentence,) = map(str, hub.clashes())
    assert sentence.endswith(f"set HF_ENDPOINT={MIRROR}.")


def test_a_mirror_on_colab_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", MIRROR)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    (sentence,) = map(str, hub.clashes())
    assert "Colab" in sentence
    assert "unset HF_ENDPOINT" in sentence


def test_a_mirror_behind_a_proxy_is_a_fault_that_does_not_show_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", MIRROR)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("https_proxy", "http://me:secret@10.1.1.1:3128")
    (sentence,) = map(str, hub.clashes())
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
    (sentence,) = map(str, hub.clashes())
    assert "set HF_HOME=/dev/shm/huggingface" in sentence
    monkeypatch.setenv("HF_HOME", "/dev/shm/huggingface")
    assert hub.clashes() == []


def test_the_lines_for_a_mirror_unset_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://10.1.1.1:3128")
    lines = hub.export_lines(hub.find_endpoint("hf-mirror")).splitlines()
    assert f"export HF_ENDPOINT={MIRROR}" in lines
    assert "export HF_HUB_DISABLE_XET=1" in lines
    assert "export HF_HUB_DISABLE_IMPLICIT_TOKEN=1" in lines
    assert lines[-1] == "unset https_proxy"


def test_the_lines_for_the_official_endpoint_undo_those_for_a_mirror(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for line in hub.export_lines(hub.find_endpoint("hf-mirror")).splitlines():
        monkeypatch.setenv(*line.removeprefix("export ").split("="))
    undone = hub.export_lines(hub.find_endpoint("official"))
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
        "print(*hub.too_late(), sep='\\n')"
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


@pytest.fixture
def ordinary_user(tmp_path: Path) -> Callable[..., str]:
    """Runs Python, by a user to whom the folder `closed` is closed, and gives what it prints.

    Root may look everywhere: there it is a process that has stepped down to a user of no name.
    """
    closed = tmp_path / "closed"
    (closed / "inside").mkdir(parents=True)
    system = shutil.which("python3.11", path="/usr/bin:/usr/local/bin")
    mine = os.environ | {"PYTHONPATH": str(Path(hub.__file__).parents[2])}

    def run(code: str, **variables: str) -> str:
        program = f"from pathlib import Path; closed = Path({str(closed)!r})\n{code}"
        python, user = sys.executable, {}
        if os.getuid() == 0:
            if system is None or not os.access(mine["PYTHONPATH"], os.R_OK):
                pytest.skip("no Python that every user may start")
            python, user = system, {"user": 54321, "group": 54321, "extra_groups": []}
        closed.chmod(0)
        try:
            done = subprocess.run(
                [python, "-c", program],
                env=mine | variables,
                cwd="/",
                capture_output=True,
                text=True,
                **user,  # type: ignore[call-overload]
            )
        finally:
            closed.chmod(0o700)
        if "ModuleNotFoundError: No module named 'companion'" in done.stderr:
            pytest.skip("the package lies where an ordinary user may not look")
        assert not done.stderr, done.stderr
        return done.stdout.strip()

    return run


CLOSED = """
from companion.hub import clashes, environment, token_place
environment.AUTODL_DATA_DISK = closed / "autodl-tmp"
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a user of few rights")
def test_a_place_that_one_may_not_look_into_is_no_data_disk(
    ordinary_user: Callable[..., str],
) -> None:
    asked = "print(environment.on_autodl(), environment.small_disk(), clashes())"
    assert ordinary_user(CLOSED + asked, HF_HOME="/tmp") == "False None []"


@pytest.mark.skipif(os.name != "posix", reason="needs a user of few rights")
def test_a_home_that_one_may_not_look_into_holds_no_token(
    ordinary_user: Callable[..., str], tmp_path: Path
) -> None:
    home = str(tmp_path / "closed" / "hf")
    assert ordinary_user(CLOSED + "print(token_place(), clashes())", HF_HOME=home) == "None []"


@pytest.mark.skipif(os.name != "posix", reason="needs a user of few rights")
def test_the_doctor_looks_into_no_closed_place(
    ordinary_user: Callable[..., str], tmp_path: Path
) -> None:
    code = """
from companion.hub import environment
environment.AUTODL_DATA_DISK = closed / "autodl-tmp"
from companion import doctor
for one in doctor.examine("Machine", "Cache", "Variables", "Token", "Models"):
    print(one.check, one.verdict.name, one.text)
"""
    said = ordinary_user(code, HF_HOME=str(tmp_path / "closed" / "hf"))
    assert "itself failed" not in said
    assert f"Cache PROBLEM {tmp_path}/closed/hf/hub cannot be written to: permission denied" in said
    assert said.count(" GOOD ") == 4


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("/data/hf/", "/data/hf"),
        ("hf", "hf"),
        ("/with\nnewline", "/with\nnewline"),
        ("~/hf", "{home}/hf"),
        ("$ELSEWHERE/hf", "/else/hf"),
        ("~nobody-of-this-name/hf", "~nobody-of-this-name/hf"),
        ("", "."),
    ],
)
def test_the_home_of_downloads_is_where_the_library_puts_it(
    monkeypatch: pytest.MonkeyPatch, name: str, folder: str
) -> None:
    monkeypatch.setenv("ELSEWHERE", "/else")
    monkeypatch.setenv("HF_HOME", name)
    assert environment.home() == Path(folder.replace("{home}", str(Path.home())))
    code = "from huggingface_hub import constants; print(constants.HF_HOME)"
    library = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert environment.home() == Path(library.stdout[:-1])


def test_a_slash_at_the_end_of_the_home_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import huggingface_hub.constants; from companion import hub; print(hub.clashes())"
    monkeypatch.setenv("HF_HOME", "/tmp/hf/")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("folder", ["", "~nobody-of-this-name/hf\n"])
def test_a_home_that_is_nowhere_is_a_fault(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.setenv("HF_HOME", folder)
    (sentence,) = map(str, hub.clashes())
    assert sentence.endswith("set HF_HOME to a folder of yours before Python starts.")
    assert sentence.isprintable()


@pytest.mark.parametrize(
    ("variables", "goes_to"),
    [
        ({"HF_HOME": ""}, "the working folder"),
        ({"HF_HOME": "hf"}, "hf in the working folder"),
        ({"HF_HOME": "$NOTHING/hf"}, "$NOTHING/hf in the working folder"),
        ({"HF_HUB_CACHE": ""}, "the working folder"),
        ({"HF_HUB_CACHE": "hub"}, "hub in the working folder"),
        ({"HOME": "me"}, "me/.cache/huggingface in the working folder"),
        ({"XDG_CACHE_HOME": "x"}, "x/huggingface in the working folder"),
    ],
)
def test_a_cache_that_is_another_one_in_each_folder_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], goes_to: str
) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "NOTHING"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (sentence,) = map(str, hub.clashes())
    assert sentence.startswith(f"Downloads go to {goes_to}, whichever that is; set HF_H")
    code = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    library = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert environment.cache() == Path(library.stdout[:-1])


@pytest.mark.parametrize("command", ["fetch", "zoo"])
def test_no_folder_is_made_in_place_of_a_home_that_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    code = {
        "fetch": "from companion.cli import main; main()",
        "zoo": "from companion.zoo import folder; folder('depth')",
    }
    arguments = ["fetch", "2", "--profile", "full", "--endpoint", "http://127.0.0.1:9"]
    monkeypatch.setenv("HF_HOME", "~nobody-of-this-name/hf")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    done = subprocess.run(
        [sys.executable, "-c", code[command], *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    said = "No home folder is known for ~nobody-of-this-name/hf; set HF_HOME to a folder of yours"
    assert done.stderr.count(said) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"])
@pytest.mark.parametrize("seconds", ["", "abc", "1e9", "2.5"])
def test_a_time_limit_that_is_no_number_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, name: str, seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, seconds)
    assert f"{name} is no whole number of seconds" in str(hub.clashes()[0])
    assert main(["fetch", "2", "--profile", "full", "--plan"]) == 1
    said = capsys.readouterr().err
    assert f"set {name}=60 before Python starts" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_certificates_that_has_none_is_named_as_the_cause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content, "utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    said = f"SSL_CERT_FILE is {file}, from which no certificates can be read"
    assert said in str(hub.clashes()[0])
    with pytest.raises(ConnectionError, match="no certificates can be read"):
        hub.choose("auto")
    close_session()
    try:
        with pytest.raises(hub.HubError) as caught:
            hub.fetch(2, "full", where="http://127.0.0.1:9", progress=False)
    finally:
        close_session()
    assert said in str(caught.value)


def test_without_a_home_folder_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    assert list(map(str, hub.clashes())) == [
        "No home folder is known for ~/.cache/huggingface; set HF_HOME to a folder of yours before "
        "Python starts."
    ]


def test_in_a_folder_that_is_gone_nothing_is_raised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setenv("HF_HOME", "hf")
    monkeypatch.setattr(environment, "AUTODL_DATA_DISK", tmp_path)
    assert [advice.text[:16] for advice in hub.clashes()] == ["Downloads go to "]
