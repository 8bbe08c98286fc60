"""Compiled blocks are used only where they compute what eager ones do."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel

from companion.training import TrainingConfig, make_model, train
from companion.training.compiling import compile_blocks, room_to_compile

Make = Callable[..., TrainingConfig]


@pytest.mark.slow
@pytest.mark.compiles
def test_compiled_blocks_train_as_eager_ones_do(tiny: Make) -> None:
    eager = train(tiny(overwrite_output_dir=True))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The model stays eager")
        compiled = train(tiny(overwrite_output_dir=True, compile=True))
    assert compiled.losses == pytest.approx(eager.losses, rel=1e-4)


def test_blocks_that_compute_something_else_stay_eager(
    tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(function: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            answer = function(*arguments, **named)
            return answer * 1.1 if isinstance(answer, torch.Tensor) else answer

        return call

    model = make_model(tiny())
    sample = torch.ones(2, 3, 16, 16)
    before = model(sample, 5).sample
    monkeypatch.setattr(torch, "compile", wrong)
    with pytest.warns(UserWarning, match=r"stays eager: the gradients .* differ .* by \d+\.\d%"):
        assert not compile_blocks(model, 2, torch.float32)
    assert torch.equal(model(sample, 5).sample, before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_blocks_that_cannot_be_compiled_stay_eager(
    tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(function: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            raise RuntimeError("no C++ compiler")

        return call

    model = make_model(tiny())
    monkeypatch.setattr(torch, "compile", broken)
    with pytest.warns(UserWarning, match="stays eager: compiling it failed with RuntimeError"):
        assert not compile_blocks(model, 2, torch.float32)
    model(torch.ones(2, 3, 16, 16), 5)


def _compile_and_stop(model: UNet2DModel) -> None:
    assert torch._dynamo.config.recompile_limit >= 128
    assert compile_blocks(model, 2, torch.float32)
    raise KeyboardInterrupt


def test_the_limit_and_the_blocks_are_put_back_also_after_an_error(
    tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(function: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            calls.append("compiled")
            return function(*arguments, **named)

        return call

    model, limit = make_model(tiny()), torch._dynamo.config.recompile_limit
    monkeypatch.setattr(torch, "compile", counted)
    with pytest.raises(KeyboardInterrupt), room_to_compile(model):
        _compile_and_stop(model)
    assert torch._dynamo.config.recompile_limit == limit
    assert calls
    calls.clear()
    model(torch.ones(2, 3, 16, 16), 5)
    assert not calls
