"""Names of other libraries that they do not promise to keep, where `training` uses them: an upgrade
that takes one away is seen here."""

import json
from pathlib import Path

import datasets
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from datasets import naming
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR, SequentialLR, StepLR


def test_accelerate_can_be_set_up_again_and_marks_the_models_it_prepared() -> None:
    AcceleratorState._reset_state()
    layer = nn.Linear(2, 2)
    Accelerator().prepare(layer)
    assert vars(layer)["_is_accelerate_prepared"] is True


def test_torch_has_a_limit_of_compiled_shapes_and_marks_the_parts_that_are_compiled() -> None:
    assert isinstance(torch._dynamo.config.recompile_limit, int)
    layer = nn.Linear(2, 2)
    assert layer._compiled_call_impl is None
    layer.compile()
    assert callable(layer._compiled_call_impl)


def test_a_schedule_says_where_it_is() -> None:
    optimizer = SGD(nn.Linear(2, 2).parameters(), lr=1.0)
    plain = LambdaLR(optimizer, lambda step: 1.0)
    assert (plain.last_epoch, plain._step_count, plain._last_lr) == (0, 1, [1.0])
    parts = [StepLR(optimizer, 3), StepLR(optimizer, 2)]
    several = SequentialLR(optimizer, parts, milestones=[2])
    assert several._schedulers == parts
    assert "_schedulers" in several.state_dict()


def test_a_gradient_scaler_says_since_when_it_has_grown() -> None:
    assert {"scale", "_growth_tracker"} < set(torch.amp.GradScaler("cpu").state_dict())


def test_datasets_are_kept_as_they_are_looked_for(tmp_path: Path) -> None:
    assert naming.camelcase_to_snakecase("MyFlowers") == "my_flowers"
    datasets.Dataset.from_dict({"a": [1]}).save_to_disk(tmp_path)
    saved = json.loads((tmp_path / "state.json").read_text())
    assert [list(file) for file in saved["_data_files"]] == [["filename"]]
