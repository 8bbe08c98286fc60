"""The embedded models: really trained, small, in the ordinary Diffusers layout.

Each is loaded as any other model is:

    from companion.zoo import folder
    StableDiffusionPipeline.from_pretrained(folder("stable-diffusion"))
"""

from .assembled import folder
from .recognise import Seen, recognise
from .registry import Entry, entries, verify

__all__ = ["Entry", "Seen", "entries", "folder", "recognise", "verify"]
