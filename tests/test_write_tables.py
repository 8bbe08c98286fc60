"""tools/write_tables.py: the pages say what was measured."""

import copy
import re

import pytest
from lib import tables
from lib.results import RESULTS, Results, Times, read
from lib.sentences import Sentence, sentences

import write_tables


@pytest.fixture(scope="module")
def results() -> dict[str, Results]:
    return tables.all_results()


def test_every_table_and_sentence_is_as_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert write_tables.main(["--check"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_every_file_of_results_is_whole_and_of_full_size(path: object) -> None:
    found = read(path)  # type: ignore[arg-type]
    assert found.parts
    assert all(part.size == "full" for part in found.parts.values())


def test_another_figure_would_be_seen(results: dict[str, Results]) -> None:
    changed = copy.deepcopy(results)
    part = tables.on_cpu(changed, "training-speed")
    part.cases["bf16"]["ratio"] = 0.5
    page = "book/measured.md"
    text = (write_tables.ROOT / page).read_text(encoding="utf-8")
    assert "| bf16 | 0.50 |" in write_tables.written(text, page, changed)
    assert "| bf16 | 0.50 |" not in write_tables.written(text, page, results)


def test_every_table_is_on_a_page() -> None:
    marked = {
        found["name"]
        for page in write_tables.pages()
        for found in write_tables.MARKED.finditer(page.read_text(encoding="utf-8"))
    }
    assert marked == tables.TABLES.keys()


def test_no_mark_is_left_without_its_other_end() -> None:
    for page in write_tables.pages():
        text = page.read_text(encoding="utf-8")
        begun = re.findall(r"<!-- table ([\w-]+) -->", text)
        ended = re.findall(r"<!-- end of table ([\w-]+) -->", text)
        assert begun == ended


def test_a_sentence_that_is_not_there_is_named(results: dict[str, Results]) -> None:
    with pytest.raises(ValueError, match="has 0 times"):
        sentences()[0].written("Something else.", results)


def test_a_sentence_finds_its_figure_over_the_end_of_a_line(results: dict[str, Results]) -> None:
    sentence = Sentence("a.md", "takes {} of it", "{:.2f}", "training-loops", "ours", "ratio_32")
    text = "It takes\n9.99 of\nit."
    assert sentence.written(text, results) == "It takes\n0.62 of\nit."


@pytest.mark.parametrize("name", [name for name in tables.TABLES if name.startswith("gpu-")])
def test_without_a_gpu_the_page_says_so(name: str, results: dict[str, Results]) -> None:
    cpu = {k: v for k, v in results.items() if v.kind == "cpu"}
    assert "Not measured" in tables.TABLES[name](cpu)


def test_a_gpus_results_become_tables(results: dict[str, Results]) -> None:
    part = copy.deepcopy(tables.on_cpu(results, "sampling-zoo-1"))
    loop, whole = (Times(median=s, low=s, high=s, rounds=3) for s in (0.625, 0.5))
    part.cases.clear()
    part.cases["notes' loop"] = {"seconds": loop}
    part.cases["compiled whole, fp16"] = {"seconds": whole, "psnr_db": 40.0, "gpu_mib": 4000.0}
    gpu = Results(device="A GPU", kind="gpu", parts={"sampling-sd14-1": part})
    text = tables.TABLES["gpu-sampling"]({"a-gpu": gpu})
    assert text.startswith("A GPU, 2026-")
    assert re.search(r"\| compiled whole, fp16 \| 0\.500 s \| .* \| 1\.25 \| 4,000 MiB", text)
    goals = tables.TABLES["gpu-goals"]({"a-gpu": gpu})
    assert "| sampling 4 times the notes' loop, steps alike | 1.2 times" in goals
    assert "not reached" in goals


def test_empty_cells_are_written_alike() -> None:
    assert tables.markdown(["", "a"], [["", ""], ["b", ""]]).splitlines() == [
        "| | a |",
        "| --- | --- |",
        "| | |",
        "| b | |",
    ]
