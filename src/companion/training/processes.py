"""The processes that train together."""

from accelerate import PartialState
from accelerate.utils import parse_flag_from_env


def processes() -> PartialState:
    """How many there are, which one this is, and its device.

    Asked before an `Accelerator` is made, accelerate takes no notice of `accelerate launch --cpu`
    by itself.
    """
    return PartialState(cpu=bool(parse_flag_from_env("ACCELERATE_USE_CPU")))
