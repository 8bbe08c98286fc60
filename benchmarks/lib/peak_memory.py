"""The most memory that tensors, or a whole process, took."""

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile


def peak_memory(case: Callable[[], object], on_gpu: bool | None = None) -> int:
    """Bytes above what was held before, at the worst moment, by PyTorch's own allocator.

    Args:
        case: what runs.
        on_gpu: whose memory; by default a GPU's, where there is one.

    On the CPU every allocation is counted, so it does not depend on what else the machine does.
    """
    if torch.cuda.is_available() if on_gpu is None else on_gpu:
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        case()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        case()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def high_water() -> float:
    """Bytes of main memory that this process had at most; NaN where the system does not say."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return 1024 * float(found[1]) if found else float("nan")
