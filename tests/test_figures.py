"""`companion.figures`: what a reader sees, to the pixel."""

import base64
import io
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from companion import figures

ROOT = Path(__file__).parents[1]
RED = Image.new("RGB", (32, 32), "red")
BLUE = Image.new("RGB", (32, 32), "blue")


def has_colour(picture: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.asarray(picture) == colour).all(axis=-1).any())


def test_to_pil_maps_minus_one_to_black_and_one_to_white() -> None:
    picture = figures.to_pil(torch.tensor([-1.0, 0.0, 1.0]).expand(3, 1, 3))
    assert np.asarray(picture)[0, :, 0].tolist() == [0, 128, 255]


def test_to_pil_cuts_off_what_is_out_of_range() -> None:
    picture = figures.to_pil(torch.tensor([-7.0, 7.0]).expand(3, 1, 2))
    assert np.asarray(picture)[0, :, 0].tolist() == [0, 255]


def test_to_pil_agrees_with_diffusers() -> None:
    from diffusers.image_processor import VaeImageProcessor

    images = torch.randn((2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    expected = VaeImageProcessor().postprocess(images, output_type="pil")
    for ours, theirs in zip(figures.to_pil(images), expected, strict=True):
        assert np.array_equal(ours, theirs)


def test_to_pil_keeps_red_red() -> None:
    red = torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1).expand(3, 4, 4)
    assert figures.to_pil(red).getpixel((0, 0)) == (255, 0, 0)


def test_to_pil_gives_a_list_for_a_batch_and_one_picture_otherwise() -> None:
    assert [picture.size for picture in figures.to_pil(torch.zeros(2, 3, 4, 5))] == [(5, 4), (5, 4)]
    assert figures.to_pil(torch.zeros(3, 4, 5)).size == (5, 4)


def test_to_pil_takes_half_precision_and_one_channel() -> None:
    assert figures.to_pil(torch.zeros(1, 4, 4, dtype=torch.bfloat16)).mode == "RGB"


@pytest.mark.parametrize("shape", [(4, 4), (4, 8, 8), (1, 1, 3, 8, 8)])
def test_to_pil_names_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(str(shape))):
        figures.to_pil(torch.zeros(shape))


@pytest.mark.parametrize(
    ("dtype", "cause"),
    [(torch.float16, "half precision, so try"), (torch.float32, "zero terminal")],
)
def test_to_pil_names_nan_and_blames_half_precision_only_in_it(
    dtype: torch.dtype, cause: str
) -> None:
    with pytest.raises(ValueError, match=f"holds NaN: .*{cause}"):
        figures.to_pil(torch.full((3, 4, 4), torch.nan, dtype=dtype))


def test_grid_shows_transparent_parts_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    white = Image.new("RGB", (4, 4), "white")
    assert figures.grid([clear]).tobytes() == figures.grid([white]).tobytes()


def test_grid_enlarges_small_pictures_without_blurring() -> None:
    picture = figures.grid([RED, BLUE], columns=2)
    assert picture.width > 8 * 32
    colours = {colour for _, colour in picture.getcolors()}
    assert colours == {(255, 0, 0), (0, 0, 255), (255, 255, 255)}


def test_grid_fits_large_pictures_to_the_page() -> None:
    assert figures.grid([Image.new("RGB", (512, 512))] * 8).width < 1500


def test_grid_scale_is_a_number_of_pixels_for_each() -> None:
    plain = figures.grid([RED], scale=1)
    assert sum(count for count, colour in plain.getcolors() if colour == (255, 0, 0)) == 32 * 32


def test_grid_writes_labels_below_their_pictures() -> None:
    plain, labelled = figures.grid([RED, BLUE]), figures.grid([RED, BLUE], ["left", "right"])
    assert labelled.width == plain.width
    assert labelled.height > plain.height
    assert np.array_equal(np.asarray(labelled)[: plain.height - 40], np.asarray(plain)[:-40])
    below = np.asarray(labelled)[plain.height - 16 :].mean(axis=-1)
    assert (below[:, : plain.width // 2] < 128).any()
    assert (below[:, plain.width // 2 :] < 128).any()


def test_grid_breaks_a_long_label_between_words() -> None:
    short = figures.grid([RED] * 4, ["a cat"] * 4)
    long = figures.grid([RED] * 4, ["a very long label that cannot be set in one line"] * 4)
    assert long.height > short.height
    assert long.width == short.width


def test_grid_breaks_a_label_at_a_newline() -> None:
    assert figures.grid([RED], ["a\nb"]).height > figures.grid([RED], ["a b"]).height


def test_grid_has_the_columns_asked_for() -> None:
    wide, two = figures.grid([RED] * 4, columns=4), figures.grid([RED] * 4, columns=2)
    assert wide.width > wide.height
    assert two.width == two.height


def test_grid_makes_rows_of_even_length_by_default() -> None:
    # Nine would not fit one row: five and four, instead of eight and one.
    assert figures.grid([RED] * 9, scale=1).size == figures.grid([RED] * 9, scale=1, columns=5).size


def test_grid_takes_tensors_batches_and_pil_images_alike() -> None:
    tensor = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).expand(2, 3, 32, 32)
    expected = figures.grid([RED, RED]).tobytes()
    assert figures.grid(tensor).tobytes() == expected
    assert figures.grid(list(tensor)).tobytes() == expected
    assert figures.grid([RED, tensor[0]]).tobytes() == expected


def test_grid_holds_pictures_of_different_sizes() -> None:
    mixed = figures.grid([RED, Image.new("RGB", (64, 48), "blue")])
    assert has_colour(mixed, (255, 0, 0))
    assert has_colour(mixed, (0, 0, 255))


def test_labels_are_set_alike_with_and_without_libfribidi() -> None:
    assert figures._font(20).layout_engine == ImageFont.Layout.BASIC


def test_grid_is_the_same_bytes_every_time() -> None:
    def encoded() -> bytes:
        buffer = io.BytesIO()
        figures.grid([RED, BLUE], ["x₀", "ε → 0"]).save(buffer, "PNG")
        return buffer.getvalue()

    assert encoded() == encoded()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"images": []}, "no pictures"),
        ({"images": [RED, BLUE], "labels": ["one"]}, "Each of the 2 pictures needs a label"),
        ({"images": [RED, BLUE], "labels": "ab"}, "one text"),
        ({"images": [RED], "scale": 0}, "scale"),
        ({"images": [RED], "columns": 0}, "column"),
    ],
)
def test_grid_names_what_is_wrong(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        figures.grid(**arguments)


def test_strip_is_one_row() -> None:
    assert figures.strip([RED] * 12).tobytes() == figures.grid([RED] * 12, columns=12).tobytes()


@pytest.fixture
def html() -> str:
    shown = figures.scrubber([RED, BLUE], ["t = 1 < 2", "t = 0"], alt='a "cat"', title="Backwards")
    return shown._repr_html_()


def test_scrubber_holds_every_picture_unchanged(html: str) -> None:
    encoded = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)
    pictures = [Image.open(io.BytesIO(base64.b64decode(png))) for png in encoded]
    assert [picture.tobytes() for picture in pictures] == [RED.tobytes(), BLUE.tobytes()]


def test_scrubber_says_what_each_picture_shows(html: str) -> None:
    assert 'alt="a &quot;cat&quot;, t = 1 &lt; 2"' in html
    assert 'alt="a &quot;cat&quot;, t = 0"' in html


def test_scrubber_has_a_labelled_slider_that_starts_at_the_first_picture(html: str) -> None:
    slider = re.search(r"<input [^>]*>", html)[0]
    assert 'type="range"' in slider
    assert 'max="1" value="0"' in slider
    assert 'aria-label="Backwards"' in slider
    assert "<figcaption>Backwards</figcaption>" in html


def test_scrubber_loads_nothing(html: str) -> None:
    without_pictures = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)
    assert "http" not in without_pictures
    assert "//" not in without_pictures
    assert 'src=""' in without_pictures  # the pictures were its only sources


def test_scrubber_shows_all_pictures_where_scripts_do_not_run(html: str) -> None:
    # What hides pictures is the script, what is hidden until it runs is the slider.
    assert not re.search(r'class="frame" hidden', html)
    assert re.search(r"<input [^>]*\bhidden\b", html)


@pytest.mark.parametrize(
    ("size", "width"), [((32, 32), 256), ((64, 64), 256), ((116, 40), 464), ((900, 300), 512)]
)
def test_scrubber_shows_pictures_large_enough_to_see_and_small_enough_for_the_page(
    size: tuple[int, int], width: int
) -> None:
    html = figures.scrubber([Image.new("RGB", size)], ["x"], alt="y")._repr_html_()
    assert f' width="{width}"' in html


def test_scrubber_text_does_not_depend_on_the_pixels() -> None:
    # So that nbval can compare the text to the letter and the pictures with a tolerance.
    def text(picture: Image.Image) -> str:
        html = figures.scrubber([picture], ["x"], alt="y")._repr_html_()
        return re.sub(r"base64,[A-Za-z0-9+/=]+", "", html)

    assert text(RED) == text(BLUE)


def test_scrubber_repr_does_not_change_from_run_to_run() -> None:
    assert repr(figures.scrubber([RED], ["x"], alt="y")) == "Scrubber of 1 pictures"


def test_scrubber_needs_a_label_for_every_picture() -> None:
    with pytest.raises(ValueError, match="needs a label"):
        figures.scrubber([RED, BLUE], ["x"], alt="y")


@pytest.mark.parametrize("images", [None, 5, "cat.png", b"x", {}, [None], ["cat.png"]])
def test_what_is_no_picture_is_said(images: Any) -> None:
    with pytest.raises(ValueError, match=r"A picture is a PIL image or a tensor|no pictures"):
        figures.grid(images)


@pytest.mark.parametrize("images", [None, RED, np.zeros((3, 4, 4)), torch.zeros(3, 0, 4)])
def test_what_is_no_tensor_of_a_picture_is_said(images: Any) -> None:
    with pytest.raises(ValueError, match="is a tensor"):
        figures.to_pil(images)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        *(({"labels": labels}, "needs a label") for labels in ([None], [5], 5, b"x")),
        *(({"columns": columns}, "columns is .* a whole number") for columns in ("2", 1.5, True)),
        *(({"scale": scale}, "scale is .* a whole number") for scale in ("2", 1.5, True)),
        ({"scale": 10**6}, "more than 30,000 pixels a side"),
    ],
)
def test_what_no_grid_can_be_made_with_is_said(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        figures.grid([RED], **given)


def test_numbers_of_numpy_lay_out_a_grid() -> None:
    plain = figures.grid([RED, BLUE], columns=2, scale=3)
    assert figures.grid([RED, BLUE], columns=np.int64(2), scale=np.int64(3)) == plain
    assert figures.grid([RED], columns=10**12).width < 200_000


@pytest.mark.parametrize("given", [{"alt": None}, {"alt": "x", "title": 5}])
def test_a_scrubber_without_words_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is a text"):
        figures.scrubber([RED], ["a"], **given)


def test_a_very_wide_picture_is_shown() -> None:
    wide = Image.new("RGB", (5000, 1), "red")
    assert has_colour(figures.grid([wide]), (255, 0, 0))
    assert figures.data_uri(wide)


def test_settings_of_matplotlib_and_random_numbers_stay_as_they_were() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams), torch.get_rng_state()
    pictures = figures.to_pil(torch.zeros(3, 3, 8, 8))
    figures.grid(pictures, ["a", "b", "c"])
    figures.scrubber(pictures, ["a", "b", "c"], alt="Grey")._repr_html_()
    assert dict(matplotlib.rcParams) == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_a_stage_is_a_stored_figure_that_says_its_settings() -> None:
    html = figures.stage(
        "draw", RED, alt="A cat", title="Draw", prompt='a "cat"', seed=7, guidance=4.0
    )._repr_html_()
    assert html.startswith('<figure class="companion-stage" data-stage="draw" ')
    assert 'data-prompt="a &quot;cat&quot;" data-seed="7" data-guidance="4.0">' in html
    assert 'alt="A cat"' in html
    assert "<figcaption>Draw</figcaption>" in html
    (png,) = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)
    assert Image.open(io.BytesIO(base64.b64decode(png))).tobytes() == RED.tobytes()


def test_a_stage_without_the_pages_scripts_says_where_one_can_draw() -> None:
    html = figures.stage("samplers", RED, alt="A cat", title="Draw")._repr_html_()
    assert "<script" not in html
    assert "you can draw here yourself" in html
    assert html.count(f'href="{figures.PAGES}"') == 1


def test_a_stage_leads_to_the_books_own_pages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["urls"]["Documentation"] == figures.PAGES


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("sing", {}, "no stage 'sing': there are draw, samplers"),
        ("draw", {"picture": None}, "needs a picture"),
        ("draw", {"alt": None}, "alt is None, but it is a text"),
        ("draw", {"title": 3}, "title is 3, but it is a text"),
        ("draw", {"start": RED}, "A start is for a stage of the kind paint, and this one is draw"),
        ("paint", {"mask": RED}, "give that picture as start"),
        ("draw", {"scale": 3}, "no setting 'scale': there are prompt"),
        ("draw", {"seed": "3"}, "seed is '3', but it is a number"),
        ("draw", {"steps": True}, "steps is True, but it is a number"),
        ("draw", {"prompt": 3}, "prompt is 3, but it is a text"),
    ],
)
def test_what_no_stage_can_be_made_of_is_said(kind: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        figures.stage(kind, **{"picture": RED, "alt": "A cat", "title": "Draw", **given})


def test_a_stage_to_paint_on_brings_the_pixels_along_in_the_size_that_the_page_draws() -> None:
    large = Image.new("RGB", (256, 256), (1, 2, 3))
    html = figures.stage("paint", large, alt="A cat", title="Paint", start=large, mask=large)
    bare = r' data-(start|mask)="data:application/octet-stream;base64,([^"]+)"'
    found = dict(re.findall(bare, html._repr_html_()))
    assert base64.b64decode(found["start"]) == bytes([1, 2, 3]) * 64**2
    assert base64.b64decode(found["mask"]) == bytes(64**2 // 8)  # dark: nothing is marked


def test_a_stage_for_tokens_needs_no_picture() -> None:
    assert "<img" not in figures.stage("tokens", alt="", title="Pieces")._repr_html_()
