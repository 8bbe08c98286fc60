"""What type checkers, editors and the API reference see of the package."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
import typing
import venv
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import companion

USERS_SCRIPT = Path(__file__).with_name("a_users_script.py")


@cache
def faces() -> dict[str, ModuleType]:
    """The package's modules that say with `__all__` what is theirs to give."""
    names = [
        module.name
        for module in pkgutil.walk_packages(companion.__path__, "companion.")
        if ".probes" not in module.name and not module.name.endswith("__main__")
    ]
    modules = [companion, *map(importlib.import_module, names)]
    return {module.__name__: module for module in modules if hasattr(module, "__all__")}


@cache
def guarded_imports(module: str) -> dict[str, Any]:
    """What a module imports for type checkers alone."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    guards = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    ]
    body = ast.Module([statement for guard in guards for statement in guard.body], [])
    names = {"__package__": module.rpartition(".")[0]}
    exec(compile(body, module, "exec"), names)
    return names


def functions(thing: Any) -> Iterator[Any]:
    """A function, or the public methods and properties of a class that are the package's own."""
    if not inspect.isclass(thing):
        yield thing
        return
    for name, member in vars(thing).items():
        member = getattr(member, "fget", None) or getattr(member, "__func__", member)
        public = not name.startswith("_") or name in ("__init__", "__call__")
        if inspect.isfunction(member) and public and member.__module__ == thing.__module__:
            yield member


def lacking(function: Any) -> set[str]:
    """Parameters, and `return`, that have no type."""
    hints = typing.get_type_hints(function, localns=guarded_imports(function.__module__))
    asked = set(inspect.signature(function).parameters) - {"self", "cls"}
    return (asked if function.__name__ == "__init__" else asked | {"return"}) - hints.keys()


def test_the_faces_are_those_of_all_rooms_with_an_interface() -> None:
    assert {name.removeprefix("companion.") for name in faces()} >= {
        *("companion", "attention", "autopipeline", "denoise", "doctor", "door", "hub"),
        *("local_hub", "scenes", "training", "zoo"),
    }


@pytest.mark.parametrize("face", faces())
def test_every_public_name_has_types_that_resolve(face: str) -> None:
    without = {}
    for name in faces()[face].__all__:
        thing = getattr(faces()[face], name)
        if inspect.isclass(thing):
            typing.get_type_hints(thing, localns=guarded_imports(thing.__module__))
        elif not inspect.isfunction(thing):
            continue
        for function in functions(thing):
            if missing := lacking(function):
                without[function.__qualname__] = missing
    assert not without


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the built wheel and this environment's libraries."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    root = USERS_SCRIPT.parents[1]
    subprocess.run(build, cwd=root, check=True, capture_output=True, timeout=600)
    venv.create(folder / "env")
    python = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(
        subprocess.run(
            [python, "-c", ask], check=True, capture_output=True, text=True
        ).stdout.strip()
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    libraries = [path for path in sys.path if Path(path).name.endswith("-packages")]
    (packages / "libraries.pth").write_text("\n".join(libraries) + "\n")
    return python


@pytest.mark.slow
def test_a_users_script_is_checked_strictly_against_the_wheel(
    installed: Path, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(installed)]
    cache_folder = tmp_path
    # None is kept where its plugin is off, or where the tests lie and nothing can be written.
    with suppress(AttributeError, OSError):
        cache_folder = pytestconfig.cache.mkdir("mypy")  # type: ignore[union-attr]
    done = subprocess.run(
        [*command, "--config-file=", f"--cache-dir={cache_folder}", str(USERS_SCRIPT)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert (done.returncode, done.stdout) == (0, "Success: no issues found in 1 source file\n")
