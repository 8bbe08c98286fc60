"""What of a run changes from step to step, as tensors for safetensors and values for JSON.

No pickle: what is read back can be wrong, but it cannot run.
"""

import json
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, JsonValue
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

Tensors = dict[str, Tensor]
Values = dict[str, JsonValue]
# Read by optimisers whose kernels trust that they have the parameter's shape.
LIKE_THE_PARAMETER = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")


class DoesNotFit(ValueError):
    """A state that is whole, but of something else; the text says where."""


def as_json(value: Any, what: str) -> Any:
    """A value as JSON gives it back.

    Raises:
        DoesNotFit: JSON does not hold it.
    """
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise DoesNotFit(
            f"{what} is a {type(value).__name__}, which neither JSON nor safetensors holds"
        ) from error


def read_tensors(path: Path, like: Mapping[str, Tensor] | None = None) -> Tensors:
    """The tensors of a file, on the CPU.

    Args:
        path: a safetensors file.
        like: the names, shapes and types that are expected, compared before anything is loaded.

    Raises:
        DoesNotFit: no safetensors file, or with other tensors.
        OSError: it may not be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = sorted(file.keys())
            if like is not None and names != sorted(like):
                odd = sorted(set(names) ^ set(like))
                raise DoesNotFit(f"{odd[0]} is in one of the two only")
            for name in names if like is not None else ():
                shape = tuple(file.get_slice(name).get_shape())
                if shape != tuple(like[name].shape):  # type: ignore[index]
                    raise DoesNotFit(f"{name} has the shape {shape}")
            # Copied: what lies in the file itself, Windows lets nobody replace or remove.
            tensors = {name: file.get_tensor(name).clone() for name in names}
    except SafetensorError as error:
        raise DoesNotFit(f"{path.name} is no safetensors file") from error
    for name, expected in (like or {}).items():
        if tensors[name].dtype != expected.dtype:
            raise DoesNotFit(f"{name} is of {tensors[name].dtype}")
    return tensors


def plain(tensors: Mapping[str, Tensor]) -> Tensors:
    """The same as safetensors takes them: on the CPU, each with memory of its own, in order."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


# The optimiser


def optimizer_groups(optimizer: Optimizer) -> list[Values]:
    """The settings of each group of parameters."""
    return [
        {
            key: as_json(
                value.tolist() if isinstance(value, Tensor) else value, f"The optimiser's {key}"
            )
            for key, value in group.items()
            if key != "params"
        }
        for group in optimizer.param_groups
    ]


def put_optimizer_groups(
    optimizer: Optimizer, mine: list[Values], began: list[Values], now: list[Values]
) -> None:
    """Put back what optimisers and schedules change in the groups as they go.

    A setting with which this run began otherwise than the checkpoint's stays this run's.

    Args:
        optimizer: whose groups are changed.
        mine: with what this run began.
        began: with what the checkpoint's run began.
        now: what it had come to.

    Raises:
        DoesNotFit: they are groups of another optimiser.
    """
    if not len(mine) == len(began) == len(now):
        raise DoesNotFit(f"its optimiser has {len(now)} groups of parameters")
    for group, own, first, last in zip(optimizer.param_groups, mine, began, now, strict=True):
        for key, value in own.items():
            if first.get(key) != value or key == "lr" or last.get(key, value) == value:
                continue
            if not _are_numbers(value, last[key]):  # flags do not change as a run goes on
                raise DoesNotFit(f"{key} of its optimiser is {last[key]!r:.60}")
            if not isinstance(group[key], Tensor):
                group[key] = tuple(last[key]) if isinstance(group[key], tuple) else last[key]  # type: ignore[arg-type]


def _are_numbers(*values: Any) -> bool:
    """Whether all are finite numbers, or lists of them that are equally long."""
    if all(isinstance(value, list) for value in values):
        if len({len(value) for value in values}) > 1:
            return False
        return all(_are_numbers(*several) for several in zip(*values, strict=True))
    return all(type(value) in (int, float) and abs(value) <= sys.float_info.max for value in values)


def optimizer_state(optimizer: Optimizer) -> tuple[Tensors, Values]:
    """What an optimiser keeps of each parameter, by "number.name": tensors, and other values."""
    tensors: Tensors = {}
    values: Values = {}
    for number, kept in optimizer.state_dict()["state"].items():
        for name, value in kept.items():
            if isinstance(value, Tensor):
                tensors[f"{number}.{name}"] = value
            else:
                values[f"{number}.{name}"] = as_json(value, f"The optimiser's {name}")
    return tensors, values


def put_optimizer_state(optimizer: Optimizer, tensors: Tensors, values: Values) -> None:
    """Put the state back; the settings of the groups stay as they are.

    Raises:
        DoesNotFit: it is of other parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for full, value in {**values, **tensors}.items():
        number, _, name = full.partition(".")
        known = number.isascii() and number.isdecimal() and len(number) < 10
        if not known or int(number) >= len(parameters):
            raise DoesNotFit(f"{full} belongs to no parameter")
        shape = tuple(value.shape) if isinstance(value, Tensor) else ()
        if name in LIKE_THE_PARAMETER and shape != tuple(parameters[int(number)].shape):
            raise DoesNotFit(f"{full} has the shape {shape}")
        if name == "step" and not _is_step(value):
            raise DoesNotFit(f"{full} is no number of steps")
        state.setdefault(int(number), {})[name] = value
    needed = kept_of_each(optimizer)
    for place, kept in state.items():
        whole = needed <= {name for name, value in kept.items() if isinstance(value, Tensor)}
        if set(kept) != set(next(iter(state.values()))) or not whole:
            raise DoesNotFit(f"of parameter {place} the optimiser's state is not whole")
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def kept_of_each(optimizer: Optimizer) -> set[str]:
    """Names of the tensors that an optimiser of a known kind keeps of each parameter it moved."""
    if isinstance(optimizer, (Adam, AdamW)):
        most = any(group.get("amsgrad") for group in optimizer.param_groups)
        return {"step", "exp_avg", "exp_avg_sq"} | ({"max_exp_avg_sq"} if most else set())
    if type(optimizer) is SGD and all(group["momentum"] for group in optimizer.param_groups):
        return {"momentum_buffer"}
    return set()


def lacks_state(optimizer: Optimizer) -> bool:
    """Whether a parameter that has a gradient would begin with fresh moments."""
    return bool(kept_of_each(optimizer)) and any(
        parameter.grad is not None and not optimizer.state.get(parameter)
        for group in optimizer.param_groups
        for parameter in group["params"]
    )


def _is_step(value: Any) -> bool:
    if isinstance(value, Tensor):
        value = value.item() if value.shape == () else None
    return type(value) in (int, float) and 0 <= value < 2**53


# The learning rate's schedule


def schedule_state(lr_scheduler: LRScheduler) -> Values:
    """How far a schedule is; of one that is a function of the step, that is the step alone."""
    state = lr_scheduler.state_dict()
    if isinstance(lr_scheduler, LambdaLR):
        state = {"last_epoch": state["last_epoch"]}
    found: Values = as_json(state, "The lr_scheduler's state")
    return found


def put_schedule_state(optimizer: Optimizer, lr_scheduler: LRScheduler, state: Values) -> None:
    """Put a schedule back to where it was, and the learning rates with it.

    A function of the step is asked anew, so that another rate or length of the run counts.

    Raises:
        DoesNotFit: it is of another schedule.
    """
    live = lr_scheduler.state_dict()
    if not isinstance(lr_scheduler, LambdaLR):
        _check_schedule(lr_scheduler, live, state)
        # What is as it was stays what it is: JSON knows no whole numbers as keys.
        lr_scheduler.load_state_dict(
            {
                key: value if as_json(value, key) == state[key] else state[key]
                for key, value in live.items()
            }
        )
        rates = lr_scheduler.get_last_lr()
    else:
        step = state.get("last_epoch")
        if not isinstance(step, int) or not 0 <= step < 2**53:
            raise DoesNotFit("it is the state of another lr_scheduler")
        lr_scheduler.last_epoch, lr_scheduler._step_count = step, step + 1
        pairs = zip(lr_scheduler.base_lrs, lr_scheduler.lr_lambdas, strict=True)
        rates = lr_scheduler._last_lr = [base * factor(step) for base, factor in pairs]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


# What torch's own schedules change as they go, and how far; all else of them is a setting.
_GOES_ON: dict[str, tuple[float, float]] = {
    "last_epoch": (0, 2**53),
    "_step_count": (0, 2**53),
    "T_cur": (0, 2**53),
    "T_i": (1, 2**53),
    "_last_lr": (0, 1e30),
}


def _check_schedule(
    lr_scheduler: LRScheduler, live: Mapping[str, Any], state: Mapping[str, Any]
) -> None:
    if set(state) != set(live):
        raise DoesNotFit("it is the state of another lr_scheduler")
    of_torch = type(lr_scheduler).__module__ == LRScheduler.__module__
    inner = getattr(lr_scheduler, "_schedulers", [])
    for key, value in state.items():
        own = as_json(live[key], key)
        if key == "_schedulers" and of_torch and _are_like([{}] * len(inner), value):
            for schedule, found in zip(inner, value, strict=True):
                _check_schedule(schedule, schedule.state_dict(), found)
            continue
        fits = value == own or ((not of_torch or key in _GOES_ON) and _are_like(own, value))
        # A later schedule of a SequentialLR stands at -1 until its turn comes, as a new one does.
        if key in _GOES_ON and fits and value != own:
            low, high = _GOES_ON[key]
            numbers = value if isinstance(value, list) else [value]
            fits = all(low <= number <= high for number in numbers)
            fits = fits and (key == "_last_lr" or isinstance(value, int))
        if not fits:
            raise DoesNotFit(f"{key} of its lr_scheduler is {value!r:.60}")


def _are_like(own: JsonValue, value: JsonValue) -> bool:
    """Whether a value may have come of another as a schedule went on: it is of the same form."""
    if isinstance(own, list) and isinstance(value, list):
        return len(own) == len(value) and all(map(_are_like, own, value))
    if type(own) in (int, float):
        return not isinstance(value, list) and _are_numbers(value)
    return own is None or type(own) is type(value)


# Chance


@dataclass
class RandomState:
    """What of a process's generators is no tensor: numpy's and Python's place in their words."""

    numpy_position: Annotated[int, Field(ge=0, le=624)]
    numpy_has_gauss: Annotated[int, Field(ge=0, le=1)]
    numpy_gauss: float
    python_gauss: float | None


def random_state(device: torch.device) -> tuple[Tensors, RandomState]:
    """The global generators of this process: torch's (also the device's), numpy's and Python's."""
    _, words, position, has_gauss, gauss = np.random.get_state(legacy=True)
    _, python_words, python_gauss = random.getstate()
    tensors = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.asarray(words).astype(np.int64)),
        "python": torch.tensor(python_words, dtype=torch.int64),
    }
    if device.type == "cuda":
        tensors["cuda"] = torch.cuda.get_rng_state(device)
    return tensors, RandomState(int(position), int(has_gauss), float(gauss), python_gauss)


def put_random_state(device: torch.device, tensors: Tensors, state: RandomState) -> None:
    """Put this process's generators back.

    Raises:
        DoesNotFit: no state of these generators.
    """
    try:
        words = tensors["numpy"].numpy()
        if words.dtype != np.int64 or words.shape != (624,) or (words >> 32).any():
            raise ValueError("numpy's words")
        np.random.set_state(
            (
                "MT19937",
                words.astype(np.uint32),
                state.numpy_position,
                state.numpy_has_gauss,
                state.numpy_gauss,
            )
        )
        random.setstate((3, tuple(tensors["python"].tolist()), state.python_gauss))
        torch.set_rng_state(tensors["torch"])
        if device.type == "cuda" and "cuda" in tensors:  # it was made on a GPU, too
            torch.cuda.set_rng_state(tensors["cuda"], device)
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise DoesNotFit(f"random.safetensors holds no states of generators ({error})") from error
