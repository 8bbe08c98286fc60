"""The command in a real terminal: interrupted, killed, its output cut off, full, closed, narrow."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import companion
from needs import unix

PACKAGE = str(Path(companion.__file__).parent)  # as a traceback names it
COMMAND = [sys.executable, "-m", "companion"]
REPORT = "doctor --report Python"
LINUX = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")


def _run(shell: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A line for bash, in which $companion is the command, wherever it lies; the doctor wants a
    folder that can be written to."""
    env = {"python": sys.executable, **os.environ, **variables}
    return subprocess.run(
        ["bash", "-c", shell.replace("$companion", '"$python" -m companion')],
        cwd=tempfile.gettempdir(),
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )


def _interrupted(number: int, prepare: str, *, ignored: bool = False) -> tuple[int, str]:
    """The status and the words of `companion zoo list` that gets a signal once it says ready."""
    script = f"""
import signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal({int(number)}, signal.SIG_IGN if {ignored} else signal.getsignal({int(number)}))
sys.argv = ["companion", "zoo", "list"]
import companion.cli, companion.zoo
{prepare}
companion.zoo.entries = work
companion.cli.main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


STOPPED = (
    "",
    "Stopped. Nothing was changed.\n",
    "Stopped. What was saved is kept; the same command goes on from there.\n",
)
WAITS = """
def work():
    print("ready", flush=True)
    time.sleep(30)
"""
SWALLOWS = """
class Deaf:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(1)
def work():
    Deaf()
    time.sleep(30)
"""
THREADS = """
def busy():
    while True:
        sum(range(9999))
def work():
    threading.Thread(target=busy, daemon=True).start()
    print("ready", flush=True)
    time.sleep(30)
"""
LOADS = """
print("ready", flush=True)
time.sleep(30)
work = None
"""
STUBBORN = """
def work():
    try:
        print("ready", flush=True)
        time.sleep(30)
    finally:
        signal.raise_signal(signal.SIGINT)
        time.sleep(30)
"""
SHORT = """
def work():
    print("ready", flush=True)
    time.sleep(0.5)
    return {}
"""


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 1), pytest.param(15, 143, marks=unix), pytest.param(1, 129, marks=unix)],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
@pytest.mark.parametrize("during", [WAITS, SWALLOWS, THREADS], ids=["work", "destructor", "thread"])
def test_a_signal_is_one_sentence_and_its_status(during: str, number: int, status: int) -> None:
    assert _interrupted(number, during) == (status, "Stopped. Nothing was changed.\n")


@pytest.mark.parametrize("during", [LOADS, STUBBORN], ids=["loading", "second time"])
def test_ctrl_c_ends_at_once_where_nothing_can_be_cleaned_up(during: str) -> None:
    assert _interrupted(signal.SIGINT, during) == (1, "Stopped. Nothing was changed.\n")


@unix
def test_a_signal_that_is_ignored_as_under_nohup_stays_ignored() -> None:
    assert _interrupted(signal.SIGHUP, SHORT, ignored=True) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    ["zoo list", "--help", "--version", "doctor Python", "doctor --json Disk", REPORT],
)
@pytest.mark.parametrize("reader", ["head -1", "true"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_not_complained_about(
    arguments: str, reader: str, unbuffered: str
) -> None:
    shell = f"$companion {arguments} | {reader} > /dev/null; exit ${{PIPESTATUS[0]}}"
    done = _run(shell, PYTHONUNBUFFERED=unbuffered)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


@LINUX
@pytest.mark.parametrize("arguments", ["zoo list", "--help", "--version", "doctor Python", REPORT])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_one_sentence_and_status_1(
    arguments: str, unbuffered: str
) -> None:
    done = _run(f"$companion {arguments} > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr == (
        "companion: What it printed could not be written (No space left on device).\n"
    )


@LINUX
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_file_that_takes_a_part_of_the_output_is_one_sentence_and_status_1(
    tmp_path: Path, unbuffered: str
) -> None:
    limited = 'ulimit -f 1; $companion fetch --help > "$folder/out"'
    done = _run(limited, PYTHONUNBUFFERED=unbuffered, folder=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "companion: What it printed could not be written (File too large).\n"


@LINUX
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_pipe_that_does_not_wait_gets_all_of_the_output(unbuffered: str) -> None:
    script = """
import fcntl, os, subprocess, sys, time
reads, writes = os.pipe()
os.set_blocking(writes, False)
fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)
os.write(writes, b"-" * 4000)
process = subprocess.Popen([*sys.argv[1:], "fetch", "--help"], stdout=writes)
os.close(writes)
time.sleep(1)
text = open(reads, encoding="utf-8").read()
sys.exit(process.wait() or "no such chapter" not in text)
"""
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    run = [sys.executable, "-c", script, *COMMAND]
    assert subprocess.run(run, env=env, timeout=60).returncode == 0


@LINUX
@pytest.mark.parametrize("stderr", ["2>&-", "2> /dev/full"])
def test_sentences_that_nobody_can_read_leave_the_status_as_it_is(stderr: str) -> None:
    assert _run(f"$companion zoo train gan {stderr}").returncode == 1
    assert _run(f"$companion zoo paint {stderr}").returncode == 2
    done = _run(f"$companion zoo list {stderr}")
    assert (done.returncode, done.stdout.count("files whole")) == (0, 9)


@pytest.mark.parametrize(
    "arguments", ["zoo list", "--version", "doctor Python", "doctor --json Python", REPORT]
)
def test_closed_streams_are_no_fault(arguments: str) -> None:
    done = _run(f"$companion {arguments} <&- >&-")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments", ["train scenes:flowers", "zoo train ddpm", 'attend "a cat" --out "$folder/cat"']
)
def test_a_working_folder_that_is_gone_is_one_sentence(tmp_path: Path, arguments: str) -> None:
    (tmp_path / "gone").mkdir()
    done = _run(f'cd "$folder/gone"; rmdir ../gone; $companion {arguments}', folder=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        "companion: The working folder cannot be used (No such file or directory): cd to another "
        "one first.\n"
    )


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "cp1252", "utf-8"])
def test_what_a_console_cannot_write_is_written_as_its_code(encoding: str) -> None:
    done = subprocess.run(
        [*COMMAND, "zoo", "train", b"\xff\xf0\x9f\x90\xb1"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 1
    cat = "🐱" if encoding == "utf-8" else r"\U0001f431"
    assert done.stderr.decode(encoding).startswith(
        f"companion: There is no recipe '\\udcff{cat}' in the zoo;"
    )


def test_a_fault_of_the_program_shows_where_it_is_in_development_mode() -> None:
    script = (
        "import sys; sys.argv = ['companion', 'zoo', 'list']\n"
        "import companion.cli, companion.zoo; companion.zoo.entries = None; companion.cli.main()"
    )
    run = [sys.executable, "-X", "dev", "-W", "ignore", "-c", script]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "TypeError: 'NoneType' object is not callable" in done.stderr
    assert "Traceback" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["--help", "zoo list", "fetch 2 --plan", "doctor Python"])
def test_ctrl_c_at_any_moment_shows_no_traceback_of_the_companion(arguments: str) -> None:
    for number in range(50):
        process = subprocess.Popen(
            [*COMMAND, *arguments.split()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(0.01 * number)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        if "Traceback" in errors and PACKAGE not in errors:
            continue  # before the package's first line it is Python's own
        assert errors in STOPPED
        assert process.returncode in (0, 1, -signal.SIGINT)
