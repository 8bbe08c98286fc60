"""A hub of one's own: a folder of repositories, served as the real hub serves them, and as
ModelScope does."""

from .modelscope import LocalModelScope
from .server import LocalHub

__all__ = ["LocalHub", "LocalModelScope"]
