"""What book/_ext/tidy_pages.py does to the text of a page."""

import html
import re

import pytest
from tidy_pages import CODE, MENDED, breakable, with_depth


def broken(code: str) -> list[str]:
    """The pieces into which a line may break a piece of code."""
    page = CODE.sub(breakable, f'<span class="pre">{html.escape(code)}</span>')
    found = re.fullmatch(r'<span class="pre">(.*)</span>', page)
    assert found
    return [html.unescape(piece) for piece in found[1].split("<wbr>")]


@pytest.mark.parametrize(
    ("code", "pieces"),
    [
        ("p.device", ["p.device"]),
        ("num_inference_steps=20", ["num_inference_steps=20"]),
        ('load_dataset("a/b",split="c")', ["load_dataset(", '"a/', 'b",', 'split="c")']),
        ("AutoPipelineForInpainting.from_pipe", ["AutoPipelineForInpainting.", "from_pipe"]),
        (
            "hub/test_a_bit_that_flips_is_found_by_all",
            ["hub/", *re.findall(r"[a-z]+_?", "test_a_bit_that_flips_is_found_by_all")],
        ),
    ],
)
def test_long_code_breaks_where_a_person_would_break_it(code: str, pieces: list[str]) -> None:
    assert broken(code) == pieces


def test_a_line_of_a_program_tells_its_depth() -> None:
    assert with_depth("<span>x</span> = 1") == "<span>x</span> = 1"
    assert with_depth("    ") == "    "
    told = with_depth('<span class="w">    </span><span class="k">return</span> x')
    assert told.startswith('<span style="--depth:4"><span class="w"><span class="depth">    <')
    assert re.sub(r"<[^>]*>", "", told) == "    return x"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<th class="head"><p></p></th>', "<td></td>"),
        ('<th class="head"><p>model</p></th>', '<th class="head"><p>model</p></th>'),
        ("<dl>\n<dd>x</dd></dl>", '<dl role="presentation">\n<dd>x</dd></dl>'),
        ("<dl>\n<dt>x</dt></dl>", "<dl>\n<dt>x</dt></dl>"),
        ('<summary aria-label="Toggle hidden content">', "<summary>"),
    ],
)
def test_what_a_reading_program_stumbles_over_is_mended(before: str, after: str) -> None:
    for pattern, mended in MENDED:
        before = pattern.sub(mended, before)
    assert before == after
