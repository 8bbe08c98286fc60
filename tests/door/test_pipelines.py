"""A pipeline is tried before it draws, and nothing of the reader's is left changed."""

from typing import Any

import diffusers
import pytest
import torch

from companion.door.pipelines import check_scheduler, looked_at, serves, try_steps
from companion.door.text import fault_of

STEPS = {"num_inference_steps": 4}


@pytest.mark.parametrize("kind", ["DDPM", "PNDM", "UniPCMultistep", "EulerAncestralDiscrete"])
def test_a_scheduler_that_serves_is_left_as_it_was(kind: str) -> None:
    scheduler = getattr(diffusers, f"{kind}Scheduler")()
    assert serves(type(scheduler))
    scheduler.set_timesteps(7)
    before, timesteps = torch.get_rng_state(), scheduler.timesteps.clone()
    check_scheduler(scheduler, STEPS)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(scheduler.timesteps, timesteps)


def test_a_scheduler_of_other_pipelines_does_not_serve() -> None:
    assert not serves(diffusers.UnCLIPScheduler)
    with pytest.raises(ValueError, match="A DDPMWuerstchenScheduler steps in another way"):
        check_scheduler(diffusers.DDPMWuerstchenScheduler(), STEPS)


def test_the_generator_stays_where_it_was_when_a_step_raises() -> None:
    class Drawing(diffusers.DDPMScheduler):
        order = 1

        def step(self, *_: object, **__: object) -> None:
            torch.randn(3)
            raise ArithmeticError

    before = torch.get_rng_state()
    with pytest.raises(ArithmeticError):
        try_steps(Drawing(), STEPS)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_looks_at_a_part_is_gone_when_the_part_raises() -> None:
    part, seen = torch.nn.Linear(1, 1), []
    with looked_at(part, lambda *given: seen.append(given)):
        part(torch.zeros(1))
    with pytest.raises(RuntimeError), looked_at(part, lambda *given: seen.append(given)):
        part(torch.zeros(5))
    part(torch.zeros(1))
    assert len(seen) == 1
    assert not part._forward_hooks


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("no such file.\nmore of it"), "ValueError: no such file"),
        (KeyError(), "KeyError"),
        (OSError("\x1b[2J"), "OSError: \\x1b[2J"),
        (TypeError("x" * 400), f"TypeError: {'x' * 300}…"),
    ],
)
def test_a_librarys_fault_is_one_short_line(error: Exception, says: str) -> None:
    assert fault_of(error) == says


class OnAGpu(torch.Tensor):
    """Stands for a tensor on a GPU: it can be copied and moved, and nothing beside it computed."""

    @classmethod
    def __torch_function__(cls, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            if func == torch.Tensor.cpu:
                return args[0].as_subclass(torch.Tensor)
            if func == torch.Tensor.__deepcopy__:
                return args[0].clone().as_subclass(cls)
        raise RuntimeError("Expected all tensors to be on the same device")


def test_a_scheduler_that_has_added_noise_on_a_gpu_can_be_used() -> None:
    scheduler = diffusers.PNDMScheduler(skip_prk_steps=True)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.as_subclass(OnAGpu)  # as add_noise does
    check_scheduler(scheduler, {"num_inference_steps": 10})
    assert isinstance(scheduler.alphas_cumprod, OnAGpu)
