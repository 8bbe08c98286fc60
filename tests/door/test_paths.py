"""A path of a file, as people and libraries give it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from companion.door.paths import file_path


@pytest.mark.parametrize("path", ["a/ü b.png", Path("a"), np.str_("a.png"), "\udce9.png", r"C:\a"])
def test_texts_and_paths_are_paths(path: Any) -> None:
    assert file_path("path", path) == Path(path)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        *(
            (value, "the path of a file, but")
            for value in (None, [], {}, b"a", 5, 1.5, True, object())
        ),
        *((value, "no file can be called so") for value in ("", "a\0b", "\ud800", "a" * 5000)),
        ("https://me:secret@a.b/c.png", "https://a.b/c.png, an address"),
    ],
)
def test_anything_else_is_one_sentence(path: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        file_path("out_file", path)
    said = str(caught.value)
    assert said.startswith("out_file is ")
    assert said.endswith(".")
    assert said.isprintable()
    assert len(said) < 300
