"""The averaged weights are there for a while, in any module, and what was before comes back."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from diffusers.training_utils import EMAModel
from torch import nn

from companion.training import TrainingConfig, averaged, make_ema, train

Make = Callable[..., TrainingConfig]


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


def test_the_averaged_weights_follow_their_formula(
    tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(ema_decay=0.6)
    history: list[dict[str, torch.Tensor]] = []
    stock = EMAModel.step

    def watched(self: EMAModel, parameters: Any) -> None:
        parameters = list(parameters)
        history.append({str(n): p.detach().clone() for n, p in enumerate(parameters)})
        stock(self, parameters)

    monkeypatch.setattr(EMAModel, "step", watched)
    run = train(config)
    average = history[0]  # the first step sets it
    for step, weights in enumerate(history[1:], start=1):
        decay = min(0.6, 1 - (1 + step) ** -0.75)  # warm-up, then the setting
        average = {n: decay * average[n] + (1 - decay) * weights[n] for n in average}
    saved = UNet2DModel.from_pretrained(run.folder / "unet")
    for expected, found in zip(average.values(), saved.parameters(), strict=True):
        torch.testing.assert_close(found.detach(), expected)
    assert not all(torch.allclose(average[n], history[-1][n], atol=1e-5) for n in average)
