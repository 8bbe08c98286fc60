"""When a ControlNet begins to obey: what was measured of chapter 8's, from several seeds."""

import json
from pathlib import Path
from typing import Any

CURVES = Path(__file__).with_name("convergence.json")


def measured() -> dict[str, Any]:
    """What `benchmarks/controlnet.py --write` measured last, on the zoo's Stable Diffusion.

    Returns:
        `command`, `measured_on`, `machine`, `versions`, `settings`, and `learning_rates`: by rate
        and seed, both as text, a list for each look. `step` is the look's step. `iou` holds each
        drawn object against its mask, and `iou_of_others` the mean against the masks of the others,
        0..1. `named` is the part of the objects that the classifier names. `held_out_loss` is the
        loss of scenes that training never saw, always with the same noise, and `training_loss` that
        of the steps before the look, None at the first. `zero_out` and `zero_in` are the root mean
        square of the weights that began at zero, behind the copy and behind the control picture.
    """
    found: dict[str, Any] = json.loads(CURVES.read_text(encoding="utf-8"))
    return found
