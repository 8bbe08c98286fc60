"""Take a trained model into the package: half precision, no pickle, and the hashes of its files.

    companion zoo train NAME && python tools/adopt_model.py NAME && companion zoo evaluate NAME

Reads `runs/NAME/model`, writes `src/companion/zoo/weights`, the list of models in it, and
`src/companion/zoo/sha256.toml`.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from companion.door.checksums import sha256
from companion.recipes.recipe import recipe_names
from companion.zoo.registry import WEIGHTS, ZOO, Entry, entries

# What `companion zoo evaluate` writes beside the model.
NOT_HASHED = {"README.md", "evaluation.json"}
ALLOWED = (".safetensors", ".json")


def halve(path: Path) -> None:
    """Rewrite a safetensors file in half precision; counters and other whole numbers stay."""
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in load_file(path).items()
    }
    largest = max(tensor.abs().max().item() for tensor in tensors.values() if tensor.numel())
    if not largest < torch.finfo(torch.float16).max:
        raise ValueError(f"{path} holds {largest}, which half precision cannot.")
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors writes for the owner only


def forget_place(path: Path) -> None:
    """Drop from a configuration where on this machine the model came from."""
    values = json.loads(path.read_text(encoding="utf-8"))
    if values.pop("_name_or_path", None):
        path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def copy(entry: Entry, run: Path) -> None:
    """Replace the model's files by those of the run.

    Raises:
        ValueError: a link is among them, or a file that holds neither settings nor safetensors.
    """
    for path in run.rglob("*"):
        if path.is_symlink() or (path.is_file() and path.suffix not in ALLOWED):
            raise ValueError(f"{path} is no file of {' or '.join(ALLOWED)}: nothing was copied.")
    for source in sorted(path for path in run.rglob("*") if path.is_file()):
        name = source.relative_to(run)
        if name.parts[0] in ("tokenizer", "vae") and entry.name == "stable-diffusion":
            continue  # these are in place already, and the VAE is a model of its own
        target = entry.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        if target.suffix == ".safetensors":
            halve(target)
        elif target.suffix == ".json":
            forget_place(target)


def files(entry: Entry) -> list[Path]:
    """The files of a model that are hashed; a model inside another's folder counts on its own
    too."""
    found = (path for path in entry.path.rglob("*") if path.is_file())
    return sorted(p for p in found if p.name not in NOT_HASHED and p.suffix != ".png")


def write_hashes() -> None:
    """Write `sha256.toml` anew for every model."""
    lines = ["# SHA-256 of every file of the embedded models, by tools/adopt_model.py."]
    for entry in entries().values():
        lines += ["", f"[{entry.name}]"]
        lines += [f'"{p.relative_to(entry.path).as_posix()}" = "{sha256(p)}"' for p in files(entry)]
    (ZOO / "sha256.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_list() -> None:
    """Write the list of all models that the book's page shows."""
    lines = ["| model | what it does | MiB | loads with |", "|---|---|---|---|"]
    for entry in entries().values():
        size = sum(path.stat().st_size for path in files(entry)) / 2**20
        loader = entry.loads_with.rpartition(".")[2]
        lines.append(f"| {entry.name} | {entry.summary} | {size:.1f} | `{loader}` |")
    (WEIGHTS / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Read the arguments, copy the model, write the hashes and the list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=recipe_names())
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    arguments = parser.parse_args()
    entry = entries()[arguments.name]
    copy(entry, arguments.runs / arguments.name / "model")
    write_hashes()
    write_list()
    size = sum(path.stat().st_size for path in files(entry))
    print(f"{entry.name}: {len(files(entry))} files, {size / 2**20:.1f} MiB, in {entry.path}")


if __name__ == "__main__":
    main()
