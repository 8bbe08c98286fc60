"""The built pages, and one browser for all tests that open them."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from browser import chromium, launched, served
from test_pages import HTML, built

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["built"]


@pytest.fixture(scope="session")
def site(built: None) -> Iterator[str]:
    with served(HTML) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    program = chromium()
    if not program:
        lacking = "no Chromium here to open the pages in: apt install chromium, or set CHROMIUM"
        if os.environ.get("MAKELEVEL") and os.environ.get("CI"):
            pytest.fail(lacking)
        pytest.skip(lacking)
    with launched(program) as running:
        yield running
