"""The door: what comes from outside (a listing, a header, a file) becomes a checked value here,
once, and nothing behind it takes a bare text.

Light to import; `documents`, `pictures` and `models` load a library when they are imported."""

from .looking import exists, is_file, is_folder, nearest
from .places import append_to, create, inside
from .text import printable, says_yes, without_password
from .values import Checksum, Commit, RepositoryId, RepositoryPath, Size, Untrusted

__all__ = [
    "Checksum",
    "Commit",
    "RepositoryId",
    "RepositoryPath",
    "Size",
    "Untrusted",
    "append_to",
    "create",
    "exists",
    "inside",
    "is_file",
    "is_folder",
    "nearest",
    "printable",
    "says_yes",
    "without_password",
]
