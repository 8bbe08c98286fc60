"""Every chapter opens and ends alike, and its exercises have difficulty and solution."""

import re
from pathlib import Path

import pytest
from chapters import BOOK, CHAPTERS, every_chapter, read_twin

ENDING = ["What to remember", "Exercises", "Further reading", "Next"]
EXERCISE = re.compile(r"### (\d+)\. .+ (•{1,3})$")
ROLE = re.compile(r"\{(?:cite|term|ref|doc|index|numref|eq)(?::\w+)?\}`")


def text_of(path: Path) -> str:
    return (BOOK / "text" / f"{path.stem}.md").read_text(encoding="utf-8")


def headings(text: str) -> list[str]:
    """The headings of a text, without the comments of its code."""
    return re.findall(r"^#+ .+$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)


@every_chapter
def test_a_chapter_says_at_its_beginning_what_it_takes(path: Path) -> None:
    first = text_of(path).split("```{code-cell}")[0]
    assert "{admonition} What you will do, and what it takes\n" in first


@every_chapter
def test_a_chapter_ends_like_the_others(path: Path) -> None:
    sections = [line.removeprefix("## ") for line in headings(text_of(path)) if line[:3] == "## "]
    assert sections[-4:] == ENDING


@every_chapter
def test_exercises_are_numbered_and_say_how_hard_they_are(path: Path) -> None:
    exercises = [line for line in headings(text_of(path)) if re.match(r"### \d", line)]
    found = [EXERCISE.match(line) for line in exercises]
    assert all(found), exercises
    assert [int(match[1]) for match in found if match] == list(range(1, len(exercises) + 1))
    assert len(exercises) >= 3


@every_chapter
def test_each_exercise_has_a_folded_solution(path: Path) -> None:
    exercise, solved, asked = "", set(), []
    for cell in read_twin(path).cells:
        if cell.cell_type == "markdown":
            for line in headings(cell.source):
                exercise = line if EXERCISE.match(line) else ""
                asked += [exercise] if exercise else []
        elif exercise and "hide-cell" in cell.metadata.get("tags", []):
            assert cell.metadata["mystnb"]["code_prompt_show"] == "Show the solution"
            solved.add(exercise)
    assert not set(asked) - solved


@every_chapter
def test_a_chapter_ends_with_something_to_read_and_the_way_on(path: Path) -> None:
    _, reading, onward = re.split(r"\n## (?:Further reading|Next)\n", text_of(path))
    assert len(re.findall(r"^[-*] .*\]\(", reading, re.MULTILINE)) >= 3
    assert re.search(r"\]\([\w#.]+\)", onward)


@every_chapter
def test_the_reader_is_asked_to_try_something(path: Path) -> None:
    assert text_of(path).count("**Try it.**") >= 2


@every_chapter
def test_no_role_stands_in_a_notebook(path: Path) -> None:
    """Colab and JupyterLab show a role as it is written."""
    assert not ROLE.search(text_of(path))


@pytest.mark.parametrize("path", [p for p in CHAPTERS if p.stem[0].isdigit()], ids=lambda p: p.stem)
def test_the_notes_are_named_only_where_the_difference_teaches(path: Path) -> None:
    text = text_of(path)
    assert len(re.findall(r"\bthe notes\b", text, re.IGNORECASE)) <= 6
    assert text.count("Where the notes say it otherwise") <= 2
