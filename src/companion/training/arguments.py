"""Tables of a settings file that become the arguments of a class of Diffusers."""

import difflib
import inspect
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, create_model

from companion.door import printable

LARGEST = 2**20  # of a whole number: neither channels nor timesteps come near
LONGEST = 2**16  # of all as text


def checked_arguments(kind: type, table: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The arguments of a class, compared with the names and types of its signature.

    Args:
        kind: a class of Diffusers, whose signature names the types.
        table: the arguments; a list stands for a tuple.
        name: of the table, for the sentence.

    Raises:
        ValueError: a name that the class does not know, or a value that is none of its type.
    """
    refused = f"No {kind.__name__} can be made of the settings [{name}]"
    known = list(inspect.signature(kind).parameters)
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ValueError(f"{refused}: it has no {printable(str(key)[:60])}{hint}")
    try:
        text = json.dumps(dict(table))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{refused}: they hold something else than numbers, texts, true, false and lists."
        ) from error
    if len(text) > LONGEST:
        raise ValueError(f"{refused}: they are longer than {LONGEST:,} characters.")
    try:
        _adapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[-1]
        key = str(fault["loc"][0])
        raise ValueError(
            f"{refused}: {key} cannot be {printable(repr(table[key]))[:60]}, "
            f"{fault['msg'][:1].lower()}{fault['msg'][1:]}."
        ) from error
    for key, value in table.items():
        numbers = value if isinstance(value, (list, tuple)) else [value]
        if any(isinstance(number, int) and abs(number) > LARGEST for number in numbers):
            raise ValueError(f"{refused}: {key} is beyond {LARGEST:,}, lower it.")
    return dict(table)


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    """A check of what the class takes, made from its signature."""
    fields: dict[str, Any] = {
        key: (parameter.annotation, parameter.default)
        for key, parameter in inspect.signature(kind).parameters.items()
    }
    config = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
    return TypeAdapter(create_model(kind.__name__, __config__=config, **fields))
