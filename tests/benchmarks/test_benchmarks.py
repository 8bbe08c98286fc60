"""The benchmarks at reduced size, for real, through their own commands."""

from pathlib import Path

import flow
import pytest
import sampling
import torch
import tracing
import training_steps
from lib import models
from lib.results import Results, read
from lib.time_limit import TimeLimit


def results_in(folder: Path) -> Results:
    (path,) = folder.glob("*.json")
    return read(path)


def test_real_shapes_have_as_many_parameters_as_the_published_weights() -> None:
    for name in ("sd14", "sdxl"):
        made = models.networks(name, "meta")  # which refuses another number
        assert all("parameters" in models.architectures()[name][part] for part in made)


def test_another_number_of_parameters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    described = models.architectures()["sd14-small"]
    unet = {**described["unet"], "parameters": 5}
    monkeypatch.setitem(models.architectures(), "sd14-small", {**described, "unet": unet})
    with pytest.raises(ValueError, match="parameters, not 5"):
        models.networks("sd14-small", "meta")


def test_copies_of_the_networks_are_drawn_with() -> None:
    made = models.networks("sd14-small", "cpu")
    first, second = (models.pipeline("sd14-small", made) for _ in range(2))
    first.unet.to(torch.bfloat16)
    assert second.unet.conv_in.weight.dtype == torch.float32


def test_sampling_at_reduced_size(tmp_path: Path) -> None:
    sampling.main(["sd14", "equal", "--size", "small", "--results", str(tmp_path)])
    parts = results_in(tmp_path).parts
    assert parts.keys() == {"sampling-sd14-1", "sampling-sd14-4", "equal-quality"}
    assert all(part.complete and part.size == "small" for part in parts.values())
    cases = parts["sampling-sd14-1"].cases
    assert cases["Diffusers' pipeline"]["psnr_db"] > 45  # type: ignore[operator]
    assert cases["our plain loop"]["psnr_db"] > 45  # type: ignore[operator]
    assert parts["sampling-sd14-4"].cases.keys() == {
        "notes' loop",
        "optimised, fp16",
        "optimised, fp16, guided=0.7",
    }


@pytest.mark.slow
def test_flow_at_reduced_size(tmp_path: Path) -> None:
    flow.main(["--size", "small", "--results", str(tmp_path)])
    parts = results_in(tmp_path).parts
    assert parts.keys() == {"flow-call", "flow-quality"}
    assert all(part.complete and part.size == "small" for part in parts.values())
    calls = parts["flow-call"].cases
    assert calls["transformer"]["parameters_million"] == pytest.approx(7.8, abs=0.1)
    assert "kid_2" in parts["flow-quality"].cases["UNet, DDIM"]


def test_a_way_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr(sampling, "optimise", broken)
    sampling.main(["sd14", "--size", "small", "--results", str(tmp_path)])
    part = results_in(tmp_path).parts["sampling-sd14-1"]
    assert part.cases["optimised, fp16"] == {"failed": "OutOfMemoryError: too large"}
    assert "seconds" in part.cases["our plain loop"]
    assert not part.complete


def test_when_time_is_over_nothing_new_begins(tmp_path: Path) -> None:
    sampling.main(["sd14", "--size", "small", "--minutes", "0", "--results", str(tmp_path)])
    tracing.main(["zoo", "--size", "small", "--minutes", "0", "--results", str(tmp_path)])
    training_steps.main(["--size", "small", "--minutes", "0", "--results", str(tmp_path)])
    assert not list(tmp_path.glob("*.json"))
    assert TimeLimit(None).left() == float("inf")


def test_tracing_at_reduced_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("daam")
    tracing.main(["sd14", "sdxl", "--size", "small", "--results", str(tmp_path)])
    parts = results_in(tmp_path).parts
    assert parts.keys() == {"tracing-sd14", "tracing-sdxl"}
    for part in parts.values():
        assert part.complete
        assert {"untraced", "ours", "daam"} <= part.cases.keys()
        assert "map_seconds" in part.cases["ours"]
    assert parts["tracing-sd14"].cases["ours, maps of daam's size"]["difference"] < 1e-3  # type: ignore[operator]
    capsys.readouterr()
    tracing.main(["sd14", "--size", "small", "--results", str(tmp_path)])
    assert capsys.readouterr().out == "sd14 is measured already\n"
    assert results_in(tmp_path).parts == parts


def test_training_at_reduced_size(tmp_path: Path) -> None:
    training_steps.main(["--size", "small", "--results", str(tmp_path)])
    part = results_in(tmp_path).parts["training-steps"]
    assert part.complete
    assert {"the notes' loop", "ours, bf16", "train_unconditional.py"} <= part.cases.keys()
    assert all(0 < figures["loss"] < 10 for figures in part.cases.values())  # type: ignore[operator]
