"""What others say reaches the terminal in one line, and passwords do not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.door import printable, without_password

few = settings(max_examples=200, deadline=None, derandomize=True)


@few
@given(st.text(st.characters(codec=None)))
def test_what_is_printed_has_no_control_code(text: str) -> None:
    shown = printable(text)
    assert not set(shown) & set("\x1b\n\r\x07\x9b\u202e\u2028\x7f")
    shown.encode()
    assert printable(shown) == shown


@pytest.mark.parametrize("text", ["plain", "一只猫 🐱", "café", "a\u00a0b"])
def test_what_can_be_read_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


secrets = st.text(st.sampled_from("sEcrET@#!é%/:1"), min_size=1).map(lambda s: f"Q{s}Q")


@few
@given(secrets, st.sampled_from(["http://u:{}@host", "see https://u:{}@host:1/x."]))
def test_a_password_in_an_address_is_taken_out(secret: str, address: str) -> None:
    assert "Q" not in without_password(address.format(secret))
    assert "host" in without_password(address.format(secret))


def test_a_password_without_a_scheme_is_taken_out() -> None:
    assert without_password("from reader:SECRET@127.0.0.1:40283: 200 kB") == (
        "from 127.0.0.1:40283: 200 kB"
    )


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/a/b@main",
        "http://host:80/a@b",
        "user@example.com",
        "datasets/a/b@main",
        "at 10:30 to 127.0.0.1:8000",
        "C:\\folder",
    ],
)
def test_what_is_no_password_stays(text: str) -> None:
    assert without_password(text) == text
