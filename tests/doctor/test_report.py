"""What the report looks like."""

import io
import json

import pytest

from companion import doctor
from companion.doctor import Verdict, good, problem, warning

FINDINGS = [
    good("Python", "3.11.7"),
    warning("Cache", "on the small disk", "export HF_HOME=/data"),
    problem("GPU", "none", "take another machine"),
]


def test_a_line_a_finding_with_the_remedy_below() -> None:
    to = io.StringIO()
    assert doctor.write(FINDINGS, to) is Verdict.PROBLEM
    assert to.getvalue().splitlines() == [
        "[ok] Python      3.11.7",
        "[!] Cache       on the small disk",
        "    -> export HF_HOME=/data",
        "[x] GPU         none",
        "    -> take another machine",
        "",
        "1 problem and 1 warning: cells of the book will fail; begin with the first problem.",
    ]


def test_a_terminal_that_can_write_them_gets_signs() -> None:
    to = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    doctor.write(FINDINGS, to)
    to.seek(0)
    written = to.read()
    assert "[✓] Python" in written
    assert "[!] Cache" in written
    assert "[✗] GPU" in written
    assert "→ take" in written


def test_a_long_text_is_wrapped_and_a_command_is_not() -> None:
    command = "python -m pip install " + " ".join(["package"] * 20)
    lines = doctor.lines(warning("Packages", "words " * 40, command)).splitlines()
    assert all(len(line) <= 100 for line in lines[:-1])
    assert lines[-1].strip() == f"→ {command}"


def test_the_verdict_is_the_worst_of_all() -> None:
    assert doctor.worst(FINDINGS) is Verdict.PROBLEM
    assert doctor.worst(FINDINGS[:2]) is Verdict.WARNING
    assert doctor.worst(FINDINGS[:1]) is Verdict.GOOD


def test_json_says_the_same() -> None:
    table = json.loads(doctor.as_json(FINDINGS))
    assert table["verdict"] == "problem"
    assert table["findings"][1] == {
        "check": "Cache",
        "verdict": "warning",
        "text": "on the small disk",
        "remedy": "export HF_HOME=/data",
    }


def test_a_good_report_ends_in_one_sentence() -> None:
    assert doctor.summary(FINDINGS[:1]) == "All is well."


def test_a_narrow_terminal_gets_narrow_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    to = io.StringIO()
    doctor.write([warning("Packages", "words " * 40, "mend them")], to)
    assert max(len(line) for line in to.getvalue().splitlines()[:-1]) <= 50


@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "ascii", "utf-8"])
def test_what_a_terminal_has_no_sign_for_is_written_as_its_code(encoding: str) -> None:
    to = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    found = [warning("Cache", "in 图片/été/\udce9", "export HF_HOME=/tmp/é图")]
    assert doctor.write(found, to) is Verdict.WARNING
    to.seek(0)
    assert ("图片" in to.read()) is (encoding in ("gbk", "utf-8"))


def test_control_codes_in_what_was_found_do_not_reach_the_terminal() -> None:
    text = doctor.lines(warning("Cache", "in a\nb\x1b[31m", "rm \x07"))
    assert text.replace("\n    → rm", "→").isprintable()


def test_with_stdout_closed_the_verdict_is_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    assert doctor.write(FINDINGS) is Verdict.PROBLEM


def test_json_is_plain_ascii() -> None:
    assert doctor.as_json([warning("Cache", "图片", "")]).isascii()
