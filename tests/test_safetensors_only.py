"""Every weight that the package loads comes from safetensors: a pickle can run code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "companion"
# What these load holds no weights.
WITHOUT_WEIGHTS = ("Tokenizer", "Scheduler", "Processor", "ProcessorPil", "Config")
LOADERS = (
    "from_pretrained",
    "from_single_file",
    "load_lora_weights",
    "load_textual_inversion",
    "download",
)
PICKLES = re.compile(
    r"(torch|pickle|joblib|dill|cloudpickle)\.(load|loads|save|dump|dumps)"
    r"|.*accelerator\.(load|save)_state"
)


def _calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the package, and where it stands."""
    for module in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{module.relative_to(SOURCE)}:{node.lineno} {ast.unparse(node)}", node


def test_what_loads_weights_loads_safetensors_only() -> None:
    loads = []
    for where, call in _calls():
        loader, _, method = ast.unparse(call.func).rpartition(".")
        if loader and method in LOADERS and not loader.endswith(WITHOUT_WEIGHTS):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            loads.append((given.get("use_safetensors"), where))
    assert len(loads) > 10
    assert [where for safetensors, where in loads if safetensors != "True"] == []


def test_nothing_reads_or_writes_a_pickle() -> None:
    assert [where for where, call in _calls() if PICKLES.fullmatch(ast.unparse(call.func))] == []
