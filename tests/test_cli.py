"""The `companion` command: what it prints, and how it fails."""

import subprocess
import sys

import pytest

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
    ]
    assert printed.count("files whole") == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zoo", "train", "gan"], "companion: There is no recipe 'gan'"),
        (["zoo", "evaluate", "gan"], "companion: There is no model 'gan'"),
        (["zoo", "train", "ddpm", "--device", "tpu9"], "companion: There is no device 'tpu9'"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_1(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(message)
    assert printed.count("\n") == 1


def test_called_wrongly_is_status_2() -> None:
    with pytest.raises(SystemExit) as stop:
        main(["zoo", "paint"])
    assert stop.value.code == 2


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from companion.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("arguments", "does", "remedy"),
    [
        (["zoo", "list"], "companion.zoo.entries", "the same command goes on from there."),
        (["train", "scenes:flowers"], "companion.training.train", "with --resume"),
    ],
)
def test_ctrl_c_is_one_sentence_that_says_how_to_go_on(
    arguments: list[str],
    does: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(does, interrupted)
    assert main(arguments) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("Stopped. What was saved is kept;")
    assert remedy in printed
    assert printed.count("\n") == 1
