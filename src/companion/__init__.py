"""The companion of the book: what its notebooks import. Light to import; heavy libraries load when
used."""

from .profile import Profile, profile

__all__ = ["Profile", "profile"]
__version__ = "0.1.0"
