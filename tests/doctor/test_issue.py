"""`companion doctor --report`: what is in the block, and above all what is not."""

import getpass
import io
import os
import re
import socket
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import companion
from companion import doctor
from companion.doctor import Verdict, good, problem, warning
from companion.doctor.privacy import Privacy

TOKEN = "hf_GEHEIMgeheimGEHEIMgeheimGEHEIMge"
PASSWORD = "Gehe1m%21"


def report(*findings: doctor.Finding) -> str:
    to = io.StringIO()
    doctor.write_for_issue(findings, to)
    return to.getvalue()


def test_it_is_one_fenced_block_with_versions_variables_and_findings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COMPANION_PROFILE", "full")
    monkeypatch.setenv("HF_ENDPOINT", "https://hf-mirror.com")
    monkeypatch.setenv("HF_HOME", "/anywhere")
    written = report(good("Python", "3.11.7"), problem("GPU", "none", "take another machine"))
    first, *_, last = written.splitlines()
    assert (first, last) == ("```text", "```")
    assert written.count("```") == 2
    assert f"companion   {companion.__version__}" in written
    assert re.search(r"Libraries   .*torch 2\.", written)
    assert "COMPANION_PROFILE=full" in written
    assert "HF_ENDPOINT (hf-mirror)" in written
    assert "HF_HOME (set)" in written
    assert "[ok] Python      3.11.7\n[x] GPU         none\n    -> take another machine" in written


def test_a_text_cannot_end_the_block() -> None:
    assert report(warning("Imports", "it says ``` and goes on", "")).count("```") == 2


def test_lines_are_not_wrapped_in_a_narrow_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    assert "words " * 39 in report(warning("Packages", "words " * 40, "mend them"))


def test_the_verdict_is_the_worst_of_all_also_with_stdout_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdout", None)
    assert doctor.write_for_issue([good("A", "b"), warning("C", "d", "e")]) is Verdict.WARNING


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("https://huggingface.co/", "official"),
        ("http://me:pw@127.0.0.1:7890", "http, this machine, with a password"),
        ("localhost:7890", "this machine"),
        ("https://hub.example.org", "https, another host"),
        ("http://[", "no address"),
    ],
)
def test_of_an_address_only_its_kind_is_told(
    address: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert f"HF_ENDPOINT ({told})" in report()


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("modelscope", "modelscope"),
        ("auto", "auto"),
        ("official", "official"),
        ("{folder}", "a folder"),
        ("https://hub.firm.example", "https, another host"),
    ],
)
def test_where_the_companion_fetches_from_is_told_and_hides_no_other_word(
    where: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPANION_ENDPOINT", where.format(folder=tmp_path))
    written = report(good("A", "auto modelscope official hub.firm.example"))
    assert f"COMPANION_ENDPOINT ({told})" in written
    assert "auto modelscope official" in written
    assert ("firm" in written) == (told != "https, another host")


def test_a_folder_below_home_is_not_told_from_home_on_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "client-x" / "hub"))
    assert Privacy().hide("in ~/client-x/hub, 3 GB free") == "in <cache>, 3 GB free"


def test_a_value_that_is_no_plain_word_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "my secret thoughts")
    assert "OMP_NUM_THREADS=(no plain word)" in report()


@pytest.mark.parametrize(
    ("name", "value", "text", "hidden"),
    [
        ("HF_TOKEN", TOKEN, f"sent {TOKEN}", "sent <secret>"),
        ("WANDB_API_KEY", "0123456789", "key 0123456789", "key <secret>"),
        ("TOKENIZERS_PARALLELISM", "false", "it is false", "it is false"),
        ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1", "1 of 1", "1 of 1"),
        ("https_proxy", f"http://me:{PASSWORD}@there", "it is Gehe1m!", "it is <secret>"),
        ("https_proxy", f"me:{PASSWORD}@there", "it is Gehe1m!", "it is <secret>"),
        ("https_proxy", "http://me:1@there", "1 of 1, http://me:1@x", "1 of 1, http://x"),
        ("https_proxy", "http://intranet-7:3128", "no http://intranet-7:3128", "no http://<proxy>"),
        ("HF_ENDPOINT", "https://hub.firm.example", "hub.firm.example says", "<endpoint> says"),
        ("HF_ENDPOINT", "hub.firm.example", "hub.firm.example says", "<endpoint> says"),
        ("HF_ENDPOINT", "https://hf-mirror.com", "hf-mirror.com says", "hf-mirror.com says"),
        ("HF_ENDPOINT", "official", "HF_ENDPOINT=official is", "HF_ENDPOINT=official is"),
        ("COMPANION_ENDPOINT", "/data/firm/hub", "no '/data/firm/hub'", "no '<endpoint>'"),
        ("HOME", "/homes/zoraida", "in /homes/zoraida/x.", "in ~/x."),
        ("HOME", "/homes/zoraida", "in /homes/zoraida-2", "in /homes/<user>-2"),
        ("HOME", "/", "in /usr/lib", "in /usr/lib"),
        ("USER", "zoraida", "/data/ZORAIDAS/x", "/data/<user>S/x"),
        ("USER", "al", "an example of /data/al_2", "an example of /data/<user>_2"),
        ("USER", "Zoë", "/data/Zoe\u0308", "/data/<user>"),
        ("USER", "root", "the root of it", "the root of it"),
        ("HOSTNAME", "laptop-9.firm.example", "laptop-9 in x", "<host> in x"),
        ("CONDA_DEFAULT_ENV", "thesis", "environment thesis", "environment <environment>"),
        ("CONDA_DEFAULT_ENV", "base", "environment base", "environment base"),
    ],
)
def test_what_is_private_is_written_otherwise(
    name: str, value: str, text: str, hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert Privacy().hide(text).startswith(hidden)


@pytest.mark.parametrize("without", ["home", "user", "working folder"])
def test_it_hides_the_rest_where_a_part_is_not_known(
    without: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    if without == "home":
        request.getfixturevalue("no_home_known")
    elif without == "user":
        for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)
    else:
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
    assert Privacy().hide(f"sent {TOKEN}") == "sent <secret>"


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """The Python of an environment in a folder that tells a name and a host, with a link to the
    package there, as after `pip install -e`."""
    home = tmp_path / "homes" / "zoraida"
    (home / "on laptop-9").mkdir(parents=True)
    source = home / "clone" / "src"
    source.parent.mkdir()
    source.symlink_to(Path(companion.__file__).parents[1])
    venv.create(home / "thesis", symlinks=True)
    (packages,) = (home / "thesis").glob("lib/python*/site-packages")
    libraries = [path for path in sys.path if Path(path).name.endswith("-packages")]
    # As code, in ASCII: Python 3.11 reads paths in the locale's encoding, and stops where it is C.
    lines = f"import sys; sys.path.extend({[str(source), *libraries]!a})\n"
    (packages / "all.pth").write_text(lines, encoding="ascii")
    return home / "thesis" / "bin" / "python"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="POSIX's environments")
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_nothing_of_a_user_who_planted_everything_is_in_it(
    planted: Path, locale: str, tmp_path: Path
) -> None:
    home = planted.parents[2]
    address = f"http://zoraida:{PASSWORD}@laptop-9.firm.example:9"
    broken = home / "stubs" / "matplotlib" / "__init__.py"
    broken.parent.mkdir(parents=True)
    broken.write_text(f"raise ImportError('{home}/x.so, {TOKEN}, {address}, laptop-9, zoraida')")
    (home / "hf").mkdir()
    (home / "hf" / "token").write_text(TOKEN)
    done = subprocess.run(
        [planted, "-m", "companion", "doctor", "--report"],
        cwd=home / "on laptop-9",
        env={
            "PATH": f"{home}:{os.environ['PATH']}",
            "PYTHONPATH": str(home / "stubs"),
            "LC_ALL": locale,
            "COLUMNS": "40",
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "HF_TOKEN": TOKEN,
            "HF_ENDPOINT": address,
            "http_proxy": address,
            "all_proxy": f"socks5://zoraida:{PASSWORD}@laptop-9",
            "HOSTNAME": "laptop-9.firm.example",
            "USER": "zoraida",
            "LOGNAME": "zoraida",
            "CONDA_PREFIX": str(home / "thesis"),
            "CONDA_DEFAULT_ENV": "thesis of zoraida",
            "COMPANION_PROFILE": "zoraida",
            "CUDA_VISIBLE_DEVICES": TOKEN,
            "SSL_CERT_FILE": str(home / "certificates.pem"),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    written = done.stdout + done.stderr
    assert done.returncode == 2, written
    assert written.count("```") == 2
    assert "[x] Profile" in written
    assert "[x] Imports" in written
    private = ["zoraida", "laptop-9", "firm.example", "thesis", TOKEN, PASSWORD, "Gehe1m", "homes"]
    private += [str(tmp_path), socket.gethostname()]
    private += [getpass.getuser()] if getpass.getuser() != "root" else []
    assert not [text for text in private if text.lower() in written.lower()]
