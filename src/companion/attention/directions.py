"""Which way attention is read: from what, and by whom."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from companion.door.numbers import shown


class Direction(NamedTuple):
    """Who is read by whom: a query asks, and what has the key it fits gives.

    Attributes:
        source: whose keys are asked, "text" or "picture".
        reader: whose queries ask, "text" or "picture".
    """

    source: str
    reader: str

    @property
    def name(self) -> str:
        """Such as "text to picture"."""
        return f"{self.source} to {self.reader}"


TO_PICTURE = Direction("text", "picture")
DIRECTIONS: Mapping[str, Direction] = MappingProxyType(
    {
        direction.name: direction
        for direction in (
            TO_PICTURE,
            Direction("picture", "text"),
            Direction("picture", "picture"),
            Direction("text", "text"),
        )
    }
)


def direction_of(name: Any) -> Direction:
    """The direction of that name.

    Raises:
        ValueError: there is none.
    """
    if not isinstance(name, str) or name not in DIRECTIONS:
        raise ValueError(
            f"direction is {shown(name)}, but it is one of: {', '.join(map(repr, DIRECTIONS))}."
        )
    return DIRECTIONS[name]
