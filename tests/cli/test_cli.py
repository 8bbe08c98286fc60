"""The `companion` command: what it prints, and how it fails."""

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import companion
from companion.cli import main


def test_zoo_list_names_every_model_and_says_that_it_is_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["zoo", "list"]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == [
        "classifier",
        "vae",
        "stable-diffusion",
        "ddpm",
        "upscaler",
        "depth-estimator",
        "depth",
        "flow",
        "controlnet",
    ]
    assert printed.count("files whole") == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zoo", "train", "gan"], "companion: There is no recipe 'gan'"),
        (["zoo", "evaluate", "gan"], "companion: There is no model 'gan'"),
        *(
            (["zoo", "train", "ddpm", "--device", name], f"companion: There is no device {name!r}")
            for name in ("tpu9", "meta", "cuda:99", "")
        ),
    ],
)
def test_a_mistake_is_one_sentence_and_status_1(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(message)
    assert printed.count("\n") == 1


@pytest.mark.parametrize("minutes", ["nan", "inf", "-1", "1e400", "soon"])
def test_minutes_are_a_number(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["zoo", "train", "ddpm", f"--minutes={minutes}"])
    assert stop.value.code == 2
    assert f"'{minutes}' is no number of minutes, 0 or more" in capsys.readouterr().err


def test_a_place_that_cannot_hold_a_run_is_said_before_the_model_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["zoo", "train", "ddpm", "--runs", str(tmp_path / "file")]) == 1
    printed = capsys.readouterr().err
    assert "cannot hold the run (Not a directory): name another folder with --runs.\n" in printed
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device", "/d/x"), "No space left on device: /d/x; make"),
        (PermissionError("The cache cannot be written."), "The cache cannot be written."),
        (MemoryError(), "There is not enough memory for this (MemoryError): ask for less"),
        (ImportError("no libcuda", name="torch.cuda"), "torch cannot be imported (no libcuda): `c"),
        (ValueError("two\nlines \x1b[31m"), "two lines \\x1b[31m"),
        (ValueError("http://me:secret@host/x fails"), "http://host/x fails"),
        (ValueError(), "ValueError"),
        (KeyError("x"), "This is a fault of the program (KeyError: 'x'): please report it"),
        (RecursionError("too deep"), "This is a fault of the program (RecursionError: too deep)"),
    ],
)
def test_every_error_is_one_sentence_and_status_1(
    error: Exception,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr("companion.zoo.entries", fails)
    assert main(["zoo", "list"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"companion: {says}")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["fetch", "1", "{}"], ["fetch", "1", "--endpoints", "{}"], ["fetch", "{}"], ["doctor", "{}"]],
)
def test_a_password_or_a_control_code_in_the_wrong_place_is_not_shown(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    address = "http://me:GEHEIM@host/\x1b[31m"
    try:
        status: object = main([argument.format(address) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    said = capsys.readouterr().err
    assert status == 2
    assert "http://host/" in said
    assert "GEHEIM" not in said
    assert "\x1b" not in said


def test_called_wrongly_is_status_2() -> None:
    with pytest.raises(SystemExit) as stop:
        main(["zoo", "paint"])
    assert stop.value.code == 2


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]])
def test_help_and_versions_do_not_wait_for_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from companion.cli import main\n"
        f"try: main({arguments})\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines()[-1] == "False"


def test_version_is_one_line_of_versions(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert not stop.value.code
    assert capsys.readouterr().out == (
        f"companion {companion.__version__} (Python {platform.python_version()}, "
        f"torch {metadata.version('torch')}, diffusers {metadata.version('diffusers')})\n"
    )


def test_version_says_which_library_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("companion.cli.version.LIBRARIES", ("no-such-library",))
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.endswith("no-such-library not installed)\n")


@pytest.mark.parametrize(
    ("arguments", "does", "says"),
    [
        (
            ["zoo", "train", "ddpm"],
            "companion.recipes.recipe.load_recipe",
            "What was saved is kept; the same command goes on from there.",
        ),
        (
            ["train", "scenes:flowers"],
            "companion.training.train",
            "What was saved is kept; with --resume the same command goes on from the newest "
            "checkpoint.",
        ),
        (["zoo", "list"], "companion.zoo.entries", "Nothing was changed."),
        (["doctor"], "companion.doctor.write", "Nothing was changed."),
    ],
)
def test_ctrl_c_is_one_sentence_that_says_what_was_kept_and_how_to_go_on(
    arguments: list[str],
    does: str,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(does, interrupted)
    assert main(arguments) == 1
    assert capsys.readouterr().err == f"Stopped. {says}\n"
