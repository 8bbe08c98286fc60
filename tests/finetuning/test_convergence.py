"""What was measured of a ControlNet that begins to obey."""

import pytest

from companion.finetuning.convergence import measured


def test_every_run_has_a_figure_for_each_of_its_looks() -> None:
    runs = [run for seeds in measured()["learning_rates"].values() for run in seeds.values()]
    assert len(runs) >= 3
    for run in runs:
        assert run["step"] == sorted(set(run["step"]))
        assert {len(values) for values in run.values()} == {len(run["step"])}
        assert all(0 <= one <= 1 for look in run["iou"] for one in look)


def test_a_controlnet_begins_with_zeros_and_its_pictures_are_those_of_the_others() -> None:
    runs = [run for seeds in measured()["learning_rates"].values() for run in seeds.values()]
    for run in runs:
        assert run["step"][0] == run["zero_in"][0] == run["zero_out"][0] == 0
        assert run["iou"][0] == runs[0]["iou"][0]
        assert run["held_out_loss"][0] == pytest.approx(runs[0]["held_out_loss"][0])
