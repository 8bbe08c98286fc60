"""The files of .github agree with the repository; `make lint` runs actionlint over them."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = set(
    re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
)
every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=[path.stem for path in WORKFLOWS])


def read(path: Path) -> dict[Any, Any]:
    """A YAML file; the word `on`, a key of every workflow, is the truth value for YAML 1.1."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    return read(path)["jobs"]


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(path).values() for step in job["steps"]]


def commands(path: Path) -> str:
    return "\n".join(step.get("run", "") for step in steps(path))


def pythons(job: dict[str, Any]) -> set[str]:
    """The versions of Python that a job takes."""
    matrix = job.get("strategy", {}).get("matrix", {})
    named = {step["with"].get("python-version", "") for step in job["steps"] if "with" in step}
    written = {version for version in named if re.fullmatch(r"3\.\d+", version)}
    return (
        written
        | {*matrix.get("python", [])}
        | {one["python"] for one in matrix.get("include", []) if "python" in one}
    )


def test_there_are_the_workflows_of_a_delivery() -> None:
    assert {path.stem for path in WORKFLOWS} == {"pages", "release", "test", "weekly"}


@every_workflow
def test_a_workflow_may_only_read_and_a_job_says_what_more(path: Path) -> None:
    assert read(path)["permissions"] == {"contents": "read"}
    writing = {
        (name, what)
        for name, job in jobs(path).items()
        for what, how in job.get("permissions", {}).items()
        if how == "write"
    }
    allowed = {
        "pages": {("deploy", "pages"), ("deploy", "id-token")},
        "release": {("pypi", "id-token"), ("github", "contents")},
    }
    assert writing == allowed.get(path.stem, set())


@every_workflow
def test_every_job_ends_and_no_two_runs_collide(path: Path) -> None:
    assert "group" in read(path)["concurrency"]
    assert all(job["timeout-minutes"] <= 90 for job in jobs(path).values())


@every_workflow
def test_actions_are_pinned_and_leave_no_token_behind(path: Path) -> None:
    for step in steps(path):
        action = step.get("uses", "x@v1")
        assert re.search(r"@(v\d+|release/v1|[0-9a-f]{40})$", action), action
        if action.startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@every_workflow
def test_targets_and_files_that_a_workflow_names_exist(path: Path) -> None:
    text = commands(path)
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= TARGETS
    for file in re.findall(r"(?<![\w/])(?:\.ci|tools|src|tests)/[\w./]*\w", text):
        assert (ROOT / file).is_file(), file
    for step in steps(path):
        for file in step.get("with", {}).get("cache-dependency-path", "").split():
            assert (ROOT / file).is_file(), file


@every_workflow
def test_on_linux_uv_too_takes_the_torch_for_cpus(path: Path) -> None:
    for job in jobs(path).values():
        text = "\n".join(step.get("run", "") for step in job["steps"])
        if re.search("make test-(oldest|newest)", text):
            variables = {**read(path).get("env", {}), **job.get("env", {})}
            assert variables["UV_TORCH_BACKEND"] == "cpu"


@every_workflow
def test_versions_of_python_are_those_that_the_package_takes(path: Path) -> None:
    for job in jobs(path).values():
        for version in pythons(job):
            assert SpecifierSet(PROJECT["requires-python"]).contains(f"{version}.9"), version


def test_the_fast_tests_run_on_three_systems_and_on_every_python_of_the_classifiers() -> None:
    fast = jobs(GITHUB / "workflows" / "test.yml")["fast"]
    systems = {system.partition("-")[0] for system in fast["strategy"]["matrix"]["os"]}
    assert systems == {"ubuntu", "macos", "windows"}
    said = {
        found[1]
        for line in PROJECT["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    }
    assert said
    assert said <= pythons(fast)


def test_everything_runs_on_one_system_with_the_programs_that_ci_looks_for() -> None:
    whole = jobs(GITHUB / "workflows" / "test.yml")["whole"]
    text = "\n".join(step.get("run", "") for step in whole["steps"])
    assert ".ci/run" in text
    asked = re.findall(r"\b[\w-]+:([\w-]+)", (ROOT / ".ci" / "run").read_text().split("; do")[0])
    assert len(asked) >= 4
    assert set(asked) <= set(text.split())


def test_a_release_is_built_checked_and_published_without_a_token() -> None:
    path = GITHUB / "workflows" / "release.yml"
    assert read(path)[True]["push"]["tags"] == ["v*"]
    assert "tools/release.py check" in commands(path)
    assert "twine check --strict" in commands(path)
    assert jobs(path)["pypi"]["environment"]["name"] == "pypi"
    assert "secrets." not in path.read_text(encoding="utf-8")


def test_only_the_weekly_look_and_the_pages_need_other_peoples_hosts() -> None:
    weekly = commands(GITHUB / "workflows" / "weekly.yml")
    assert {"rehearse-colab", "linkcheck"} <= set(re.findall(r"make ([a-z-]+)", weekly))


@pytest.mark.parametrize(
    "path", sorted(GITHUB.glob("ISSUE_TEMPLATE/[!c]*.yml")), ids=lambda path: path.stem
)
def test_a_form_asks_what_it_needs(path: Path) -> None:
    form = read(path)
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    names = [field["id"] for field in fields]
    assert len(set(names)) == len(names)
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_the_form_for_faults_asks_for_the_doctors_report() -> None:
    text = (GITHUB / "ISSUE_TEMPLATE" / "bug.yml").read_text(encoding="utf-8")
    assert "`companion doctor --report`" in text
    # The report is a fenced block already; a fence of GitHub's round it would end inside.
    assert "render" not in text


def test_dependabot_looks_after_the_actions() -> None:
    updates = read(GITHUB / "dependabot.yml")["updates"]
    assert [update["package-ecosystem"] for update in updates] == ["github-actions"]
