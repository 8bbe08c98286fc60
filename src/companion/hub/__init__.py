"""The way to the hub: which endpoint works, what has to be set for it, and what is fetched.

Light to import and standard library only: huggingface_hub, which reads the environment when it is
imported, is imported by what downloads."""

from .endpoints import Endpoint, endpoint, endpoints
from .environment import clashes, export_lines, too_late
from .probe import Part, Route, choose, probe, probe_all

__all__ = [
    "Endpoint",
    "Part",
    "Route",
    "choose",
    "clashes",
    "endpoint",
    "endpoints",
    "export_lines",
    "probe",
    "probe_all",
    "too_late",
]
