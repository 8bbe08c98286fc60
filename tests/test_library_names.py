"""Names of other libraries that they do not promise to keep, where `hub`, `doctor`, `door` and the
start of `cli` use them: an upgrade that takes one away is seen here."""

import atexit
import importlib.util
import sys

import pytest
from PIL import Image, ImageFile

from companion.hub import asking, listing, reasons


def test_exceptions_are_called_as_they_are_known_by() -> None:
    library = sys.modules[asking.request_error().__module__.partition(".")[0]]
    names = {*reasons.CUT, *listing.CUT, "ConnectTimeout", "ProxyError", "DecodingError"}
    for name in names:
        assert issubclass(getattr(library, name), asking.request_error())
    assert issubclass(library.InvalidURL, Exception)


def test_what_huggingface_hub_has_read_is_where_it_is_looked_for() -> None:
    from huggingface_hub import constants
    from huggingface_hub.utils import WeakFileLock

    assert callable(WeakFileLock)
    for name in (
        *("ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_XET"),
        *("HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"),
        *("DEFAULT_ETAG_TIMEOUT", "DEFAULT_DOWNLOAD_TIMEOUT"),
    ):
        assert hasattr(constants, name), name


def test_an_exit_can_be_prepared_and_an_import_be_known() -> None:
    assert callable(atexit._run_exitfuncs)
    bootstrap = sys.modules["_frozen_importlib"]
    assert bootstrap._find_and_load.__code__.co_filename == "<frozen importlib._bootstrap>"


def test_a_decoder_has_a_block_of_its_own() -> None:
    Image.init()
    assert {"PNG", "JPEG", "EPS"} <= set(Image.ID)
    assert ImageFile.ImageFile.__init__.__code__.co_names.count("decodermaxblock") == 1


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="pip is not installed")
def test_pip_brings_a_copy_of_packaging() -> None:
    from pip._vendor.packaging.specifiers import SpecifierSet

    assert SpecifierSet(">=1").contains("2")
