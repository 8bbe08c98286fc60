"""book/conftest.py's comparison of pictures: what it lets pass, and what not."""

import importlib.util
import io
from collections.abc import Callable

import numpy as np
import pytest
from chapters import BOOK
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

spec = importlib.util.spec_from_file_location("book_conftest", BOOK / "conftest.py")
assert spec
assert spec.loader
book = importlib.util.module_from_spec(spec)
spec.loader.exec_module(book)


def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def scene(seed: int, size: int = 64) -> np.ndarray:
    """Draw discs on a plain ground: other seeds, other pictures."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (size, size), tuple(rng.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    for _ in range(2):
        x, y, r = rng.integers(size // 4, 3 * size // 4, 3) // (1, 1, 2)
        draw.ellipse((x - r, y - r, x + r, y + r), tuple(rng.integers(0, 256, 3).tolist()))
    return np.asarray(picture, dtype=np.float32)


def grid(seeds: range) -> np.ndarray:
    """Put eight scenes beside each other, as a figure of a chapter does."""
    return np.concatenate([scene(seed) for seed in seeds], axis=1)


def test_a_picture_agrees_with_itself_and_with_its_rounding() -> None:
    picture = scene(0)
    rounding = np.random.default_rng(0).integers(-2, 3, picture.shape)
    assert book.picture_difference(encode(picture), encode(picture)) is None
    assert book.picture_difference(encode(picture), encode(picture + rounding)) is None


def test_an_edge_that_moves_by_a_quarter_of_a_pixel_agrees() -> None:
    picture = scene(0)
    moved = 0.75 * picture + 0.25 * np.roll(picture, 1, axis=1)
    assert book.picture_difference(encode(picture), encode(moved)) is None


@pytest.mark.parametrize(
    "other",
    [
        lambda p: np.random.default_rng(1).uniform(0, 255, p.shape),
        lambda p: scene(1),
        lambda p: np.zeros_like(p),
        lambda p: p[::-1],
        lambda p: p + 6,
        lambda p: 255 - p,
    ],
    ids=["noise", "another scene", "black", "upside down", "brighter", "inverted"],
)
def test_another_picture_is_found(other: Callable[[np.ndarray], np.ndarray]) -> None:
    picture = scene(0)
    assert "differ by" in book.picture_difference(encode(picture), encode(other(picture)))


def test_noise_of_another_seed_is_found() -> None:
    stored, fresh = (np.random.default_rng(s).normal(127, 80, (64, 64, 3)) for s in (0, 1))
    assert "differ by" in book.picture_difference(encode(stored), encode(fresh))


def test_one_wrong_picture_in_a_large_figure_is_found() -> None:
    stored, fresh = grid(range(24)), grid(range(24))
    fresh[:, 64 * 7 : 64 * 8] = scene(99)
    assert "worst block" in book.picture_difference(encode(stored), encode(fresh))


def test_sizes_must_agree() -> None:
    sentence = book.picture_difference(encode(scene(0)), encode(scene(0, 72)))
    assert sentence == "stored is 64x64, fresh is 72x72"


def plot(release: str, moved: int = 0, wider: int = 0, slope: int = 1) -> bytes:
    """Draw axes and a line as a release of Matplotlib does, with its name in the file."""
    picture = Image.new("RGB", (200 + wider, 120), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((20 + moved, 10, 180 + moved, 100), outline="black")
    ends = [(20 + moved, 100), (180 + moved, 10)]
    draw.line(ends if slope > 0 else [(20 + moved, 10), (180 + moved, 100)], "blue", 2)
    about, buffer = PngInfo(), io.BytesIO()
    about.add_text("Software", f"Matplotlib version{release}, https://matplotlib.org/")
    picture.save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


@pytest.mark.parametrize(("moved", "wider"), [(0, 0), (-4, 0), (4, 0), (0, 4), (2, -3)])
def test_a_plot_of_another_matplotlib_may_move_a_little(moved: int, wider: int) -> None:
    other = plot("3.10.0", moved=moved, wider=wider)
    assert book.picture_difference(plot("3.11.2"), other) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [({"moved": 9}, "differ by"), ({"wider": 5}, "fresh is"), ({"slope": -1}, "differ by")],
)
def test_another_plot_is_found_under_another_matplotlib_too(
    change: dict[str, int], says: str
) -> None:
    assert says in book.picture_difference(plot("3.11.2"), plot("3.10.0", **change))


@pytest.mark.parametrize("change", [{"moved": 2}, {"wider": 1}])
def test_under_one_matplotlib_a_plot_may_not_move(change: dict[str, int]) -> None:
    assert book.picture_difference(plot("3.11.2"), plot("3.11.2", **change))


def test_a_picture_that_is_no_plot_may_never_move() -> None:
    moved = np.roll(scene(0), 3, axis=1)
    assert "differ by" in book.picture_difference(encode(scene(0)), encode(moved))
    assert "differ by" in book.picture_difference(plot("3.11.2"), encode(np.zeros((120, 200, 3))))


def test_what_is_no_picture_is_said() -> None:
    assert "cannot be read" in book.picture_difference(b"nothing", encode(scene(0)))


def test_pictures_inside_html_are_taken_out_and_the_text_stays() -> None:
    html = '<b>9</b><img src="data:image/png;base64,AAAA"><img src="data:image/jpeg;base64,BBBB">'
    outputs, pictures = book.split_pictures(
        [{"output_type": "display_data", "data": {"text/html": html}}]
    )
    assert [kind for kind, _ in pictures] == ["inside text: image/png", "inside text: image/jpeg"]
    assert outputs[0]["data"]["text/html"].startswith("<b>9</b><img src=")
    assert "AAAA" not in outputs[0]["data"]["text/html"]
