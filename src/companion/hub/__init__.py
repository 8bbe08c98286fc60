"""The way to the hub: which endpoint works, what has to be set for it, and what is fetched.

Light to import and standard library only: huggingface_hub, which reads the environment when it is
imported, is imported by what downloads."""

from companion.door.advice import Advice
from companion.local_hub import LocalHub

from .endpoints import Endpoint, endpoints, find_endpoint
from .environment import clashes, export_lines, too_late, use_autodl_proxy
from .errors import HubError, NoRoom, NotAllowed, replacements
from .fetch import fetch
from .probe import Part, Route, choose, probe, probe_all
from .tokens import token_place

__all__ = [
    "Advice",
    "Endpoint",
    "HubError",
    "LocalHub",
    "NoRoom",
    "NotAllowed",
    "Part",
    "Route",
    "choose",
    "clashes",
    "endpoints",
    "export_lines",
    "fetch",
    "find_endpoint",
    "probe",
    "probe_all",
    "replacements",
    "token_place",
    "too_late",
    "use_autodl_proxy",
]
