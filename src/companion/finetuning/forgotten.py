"""What chapter 8's methods teach and make a model forget, over their steps: as measured."""

import json
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("forgotten.json")


def measured() -> dict[str, Any]:
    """What `benchmarks/finetuning.py --write` measured last, on the zoo's Stable Diffusion.

    Chapter 8, "What was forgotten".

    Returns:
        `command`, `pictures` (how many were asked for at each step, of the new object and of the
        old ones), and `curves`: by method `steps`, and for the new object and the old ones the
        shares that the classifier names, `new`, `new_low`, `new_high`, `old`, `old_low`,
        `old_high`, 0..1, with their Wilson intervals of 95 %.
    """
    found: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return found
