"""The averaged weights are there for a while, in any module, and what was before comes back."""

import pytest
import torch
from torch import nn

from companion.training import averaged, make_ema
from companion.training.config import TrainingConfig


@pytest.fixture
def layer() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("with_average", [True, False])
def test_weights_and_mode_are_as_before_also_after_an_error(
    layer: nn.Module, training: bool, with_average: bool
) -> None:
    ema = make_ema(TrainingConfig(ema_decay=0.9 if with_average else 0.0), layer)
    average = [weights.detach().clone() for weights in layer.parameters()]
    with torch.no_grad():
        for weights in layer.parameters():
            weights += 1
    before = [weights.detach().clone() for weights in layer.parameters()]
    layer.train(training)

    def look_and_fail() -> None:
        assert not any(part.training for part in layer.modules())
        expected = average if with_average else before
        assert all(map(torch.equal, layer.parameters(), expected))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), averaged(layer, ema):
        look_and_fail()
    assert all(map(torch.equal, layer.parameters(), before))
    assert all(part.training == training for part in layer.modules())
