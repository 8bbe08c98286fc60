"""Compiled modules: what `torch.compile` and `Module.compile` leave on them, told and undone.

torch has no public word for either (seen in 2.13), so its private ones stand here alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def uncompiled(module: Any) -> Any:
    """What `torch.compile` wrapped, or the module itself."""
    return getattr(module, "_orig_mod", module)


def is_compiled(module: nn.Module) -> bool:
    """Whether any part of it is, by `torch.compile`, `compile`, or `compile_repeated_blocks`."""
    return any(
        part._compiled_call_impl is not None or uncompiled(part) is not part
        for part in module.modules()
    )


def make_eager(parts: Iterable[nn.Module]) -> None:
    """Undo `Module.compile`."""
    for part in parts:
        part._compiled_call_impl = None


def allow_shapes(count: int) -> int:
    """Let torch compile one kind of part for so many shapes at least; its own limit is 8, a part
    that comes in more falls back to plain PyTorch, or fails.

    Returns:
        The limit before.
    """
    import torch

    limits: Any = torch._dynamo.config
    before = int(limits.recompile_limit)
    limits.recompile_limit = max(before, count)
    return before


def limit_shapes(count: int) -> None:
    """Set the limit back to what it was."""
    import torch

    limits: Any = torch._dynamo.config
    limits.recompile_limit = count


def compile_whole(network: nn.Module) -> None:
    """Compile a network as one piece, for each shape anew.

    torch compiles anew too where a caller names more arguments, if only as None: those are left
    out, so that what was compiled in a trial serves every pipeline.
    """
    network.compile(dynamic=False)
    compiled: Any = network._compiled_call_impl
    network._compiled_call_impl = lambda *args, **kwargs: compiled(*args, **_named(kwargs))


def compile_as_graph(network: nn.Module) -> None:
    """Compile a network as `compile_whole` does, so that a GPU plays all of its kernels in one go.

    Such a graph writes each answer to the same place. So answers are copied from there: a scheduler
    may keep the last ones.
    """
    import torch

    network.compile(mode="reduce-overhead", dynamic=False)
    compiled: Any = network._compiled_call_impl

    def call(*args: Any, **kwargs: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return _copied(compiled(*args, **_named(kwargs)))

    network._compiled_call_impl = call


def _named(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if value is not None}


def _copied(answer: Any) -> Any:
    """A network's answer with tensors of its own: a tensor, a tuple, or one of Diffusers' kind."""

    def copy(value: Tensor | None) -> Tensor | None:
        return None if value is None else value.clone()

    if isinstance(answer, tuple):
        return tuple(map(copy, answer))
    if isinstance(answer, dict):
        return type(answer)(**{name: copy(value) for name, value in answer.items()})
    return copy(answer)
