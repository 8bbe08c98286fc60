"""What there is to load: by a chapter's number, by name and by id."""

import pytest

from companion.sources import wanted
from faulty_hub import DATASET, MODEL


def test_a_chapter_is_what_the_profile_says_it_loads() -> None:
    assert set(wanted(2, "full")) == {"denoiser"}
    assert wanted("2", "full") == wanted("denoiser", "full")
    assert set(wanted("all", "full")) >= {"denoiser", "stable_diffusion", "flowers"}


def test_an_id_that_the_book_knows_gets_its_commit_and_files() -> None:
    assert list(wanted(MODEL).values()) == list(wanted(2, "full").values())
    assert wanted(f"{MODEL}@main")[MODEL].revision == "main"
    assert wanted(f"datasets/{DATASET}")[DATASET].repo_type == "dataset"


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("99", "Chapter 99 loads nothing; choose one of 2, 3"),
        ("cats", "'cats' is no chapter, no name"),
        ("https://huggingface.co/x/y", "no id such as google/ddpm-cat-256"),
    ],
)
def test_what_is_no_chapter_and_no_id_is_refused(what: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        wanted(what, "full")
