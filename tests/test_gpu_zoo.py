"""tools/gpu_zoo.py: the zoo's models trained in turns within a time."""

from pathlib import Path

import pytest

import gpu_zoo


def test_without_time_it_says_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_zoo.main(["--minutes", "0", "ddpm"]) == 0
    assert "no time is left for ddpm: run it again" in capsys.readouterr().out


def test_an_unknown_model_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu_zoo.main(["--minutes", "1", "dpm"])
    assert "no recipe makes 'dpm'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_is_trained_for_its_share(tmp_path: Path) -> None:
    options = ["--minutes", "0.02", "--device", "cpu", "--runs", str(tmp_path)]
    assert gpu_zoo.main([*options, "classifier"]) == 0
    assert (tmp_path / "classifier" / "checkpoint.safetensors").is_file()
