"""Asks torch for its GPU and runs a small computation on it."""

from collections.abc import Iterator
from typing import Any


def facts() -> Iterator[dict[str, Any]]:
    """Step by step, so that what is known before a crash is not lost."""
    import torch

    yield {
        "torch": torch.__version__,
        "built_for_cuda": torch.version.cuda,
        "built_for_rocm": getattr(torch.version, "hip", None),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        device = torch.device("cuda")
        properties = torch.cuda.get_device_properties(0)
        free, total = torch.cuda.mem_get_info(0)
        yield {
            "device": "cuda",
            "name": properties.name,
            "capability": [properties.major, properties.minor],
            "built_for": torch.cuda.get_arch_list(),
            "free": free,
            "total": total,
            "count": torch.cuda.device_count(),
            # Without the emulation that older GPUs answer yes with.
            "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
        }
    elif torch.backends.mps.is_available():
        device = torch.device("mps")
        yield {"device": "mps", "name": "Apple GPU", "total": torch.mps.recommended_max_memory()}
    else:
        yield {"device": "cpu"}
        return

    generator = torch.Generator().manual_seed(0)
    picture = torch.randn((1, 8, 32, 32), generator=generator)
    weight = torch.randn((8, 8, 3, 3), generator=generator)
    expected = torch.nn.functional.conv2d(picture, weight, padding=1).softmax(1)
    got = torch.nn.functional.conv2d(picture.to(device), weight.to(device), padding=1).softmax(1)
    # TF32, which some GPUs use here, keeps three digits.
    yield {"kernel_agrees": torch.allclose(got.cpu(), expected, rtol=0, atol=0.02)}
    if device.type == "mps":
        tiny = torch.ones(2, dtype=torch.bfloat16, device=device)
        yield {"bf16": bool((tiny + tiny).sum().item() == 4)}
