"""A prompt is a text that a tokenizer can read."""

import pytest

from companion.door.numbers import is_several, listed
from companion.door.prompts import LONGEST, check_text


def test_a_text_comes_back() -> None:
    assert check_text("The prompt", "ein Käse 🧀") == "ein Käse 🧀"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (5, "The prompt is a text, but int was given."),
        (b"cat", "The prompt is a text, but bytes was given."),
        ("a" * (LONGEST + 1), "The prompt has 100,001 characters, more than 100,000."),
        ("\udc80", "The prompt holds bytes that are no UTF-8, "),
    ],
)
def test_what_no_tokenizer_reads_is_said(given: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_text("The prompt", given)


def test_several_are_a_list_and_one_is_a_list_of_itself() -> None:
    import numpy as np

    assert listed((1, 2)) == [1, 2]
    assert listed(number for number in (1, 2)) == [1, 2]
    assert listed("ab") == ["ab"]
    assert listed({"a": 1}) == [{"a": 1}]
    assert listed(np.int64(7)) == [7]
    assert listed(np.array(7)) == [np.array(7)]
    assert is_several(np.array([7]))
    assert not is_several(None)
