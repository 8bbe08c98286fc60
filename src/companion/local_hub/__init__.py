"""A hub of one's own: a folder of repositories, served as the real hub serves them."""

from .server import LocalHub

__all__ = ["LocalHub"]
