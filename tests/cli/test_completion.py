"""`companion --print-completion`: Tab, pressed in real shells."""

import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from companion import cli
from companion.cli import completion
from companion.cli.instead import SHELLS

pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")

# How a shell is started without the settings of whoever runs the tests, and finds the file.
START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source ./companion.bash"),
    "zsh": (["zsh", "-f", "-i"], "fpath=($PWD $fpath); autoload -U compinit; compinit -D -u"),
}
NAMES = {"bash": "companion.bash", "zsh": "_companion", "fish": "companion.fish"}
# Typed, and what the command then gets.
TABS = [
    ("doct\t", "doctor"),
    ("fetch --prof\tfu\t", "fetch --profile full"),
    ("fetch stab\t", "fetch stable_diffusion"),
    ("fetch 3 --endpoint hf\t", "fetch 3 --endpoint hf-mirror"),
    ("fetch 3 --endpoint mod\t", "fetch 3 --endpoint modelscope"),
    ("zoo tr\tupsc\t", "zoo train upscaler"),
    ("doctor Var\t", "doctor Variables"),
    ("attend cat --model st\t", "attend cat --model stable-diffusion"),
    ("train --config settings.t\t", "train --config settings.toml"),
    ("train --mixed-precision b\t", "train --mixed-precision bf16"),
    ("train my-pic\t", "train my-pictures"),
]


def prepare(shell: str, folder: Path) -> None:
    """Put the script into the folder, and something to be completed."""
    printed = subprocess.run(
        [sys.executable, "-m", "companion", "--print-completion", shell],
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stderr == ""
    (folder / NAMES[shell]).write_text(printed.stdout)
    (folder / "settings.toml").touch()
    (folder / "my-pictures").mkdir()


def read_until(terminal: int, wanted: str, seconds: float = 30.0) -> str:
    """What a terminal shows until it shows something."""
    shown, deadline = "", time.monotonic() + seconds
    while wanted not in shown:
        assert time.monotonic() < deadline, f"no {wanted!r} in {shown!r}"
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 4096).decode(errors="replace")
    return shown


@pytest.mark.parametrize("shell", START)
def test_tab_in_a_terminal_completes_to_what_the_command_then_gets(
    shell: str, tmp_path: Path
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    prepare(shell, tmp_path)
    command, load = START[shell]
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=end,
        stdout=end,
        stderr=end,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "dumb", "PS1": "$ "},
        start_new_session=True,
    )
    os.close(end)
    try:
        # In the place of the command: a function that shows what it gets.
        shows = 'companion() { printf "%s" "<got:$*"; printf ">%s\\n" end; }'
        for line in (load, shows, "echo rea''dy"):
            os.write(terminal, f"{line}\n".encode())
        read_until(terminal, "ready")
        for typed, gets in TABS:
            os.write(terminal, b"companion ")
            for part in typed.split("\t")[:-1]:
                os.write(terminal, f"{part}\t".encode())
                time.sleep(0.1)  # as between two keys
            os.write(terminal, b"\n")
            shown = read_until(terminal, ">end")
            # bash ends a folder with a slash, zsh takes it away again.
            assert f"<got:{gets}>end" in re.sub("[ /]>end", ">end", shown)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_offers_the_one_thing_that_fits(tmp_path: Path) -> None:
    prepare("fish", tmp_path)
    for typed, gets in TABS:
        *before, last = gets.split()
        begun = typed.split("\t")[-2].split()[-1]
        line = " ".join(["companion", *before, begun])
        asked = f"source ./companion.fish; complete -C '{line}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", asked],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        offered = [row.partition("\t")[0].rstrip("/") for row in done.stdout.splitlines()]
        assert offered == [last], line


def test_what_is_suggested_belongs_to_arguments_that_there_are() -> None:
    places = {place for place, _ in completion._arguments(cli._parser())}
    assert set(completion.SUGGESTIONS) <= places


def test_the_help_names_the_shells(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert f"{{{','.join(SHELLS)}}}" in capsys.readouterr().out


def test_without_its_package_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit) as stop:
        cli.main(["--print-completion", "bash"])
    assert stop.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("companion: This takes one more package: ")
    assert printed.err.count("\n") == 1
