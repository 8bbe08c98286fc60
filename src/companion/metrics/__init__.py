"""How alike pictures, masks and samples are, and how sure a mean of them is."""

from .confidence import Interval, bootstrap, percent, wilson
from .masks import iou
from .pictures import nearest, peak_signal_noise_ratio, psnr
from .samples import fid, kid, kid_with_error
from .texts import clip_score

__all__ = [
    "Interval",
    "bootstrap",
    "clip_score",
    "fid",
    "iou",
    "kid",
    "kid_with_error",
    "nearest",
    "peak_signal_noise_ratio",
    "percent",
    "psnr",
    "wilson",
]
