"""What the live stages of the pages load, packed once the pages are written.

A page that is opened from a folder may load scripts and nothing else. So the engine, the kernels
and the model lie in scripts too: each file as gzip in base64, cut into pieces so that a page can
show how far it is. `live/pieces.js` puts them together again.
"""

import base64
import gzip
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sphinx.application import Sphinx

ENGINE = Path(__file__).parents[1] / "_static" / "live" / "engine"
# One scope for all: what a file uses stands in those before it.
SCRIPTS = (
    "tokens",
    "noise",
    "levels",
    "samplers",
    "schedulers",
    "flow_matching",
    "tensors",
    "layers",
    "network",
    "transformer",
    "heat_maps",
    "denoise",
    "pipeline",
    "stable_diffusion",
    "stable_diffusion_3",
    "worker",
)
MODEL = "stable-diffusion"
FLOW = "flow"  # for the stages that ask for it
# The files of each model, besides those that all need; weights that are the same travel once.
MODELS = {
    MODEL: {"model": "model", "weights": ["vae", "weights"]},
    FLOW: {"model": "flow-model", "weights": ["vae", "flow-weights"]},
}
PIECE = 2**20  # signs of base64
DEFAULTS = {"steps": 15, "guidance": 4, "sampler": "unipc"}
SAMPLERS = ("ddpm", "ddim", "unipc", "dpm++2m")


def engine() -> str:
    """The text of the worker: all its scripts behind one another."""
    texts = [(ENGINE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return "\n".join([*texts, "serve(self);\n"])


def packed_files() -> dict[str, bytes]:
    """What the worker is given, by name."""
    from safetensors.numpy import load_file, save

    from companion.zoo import folder
    from companion.zoo.export import MERGES, WEIGHTS, export
    from companion.zoo.export import MODEL as CONFIGURATION

    with tempfile.TemporaryDirectory() as scratch:
        first, second = (export(folder(name), Path(scratch) / name) for name in MODELS)
        weights, of_flow = (load_file(files[WEIGHTS]) for files in (first, second))
        vae = {name: weights.pop(name) for name in sorted(weights) if name.startswith("vae.")}
        for name, array in vae.items():
            if name in of_flow and np.array_equal(of_flow[name], array):
                del of_flow[name]
        return {
            "engine": engine().encode(),
            "kernels": (ENGINE / "kernels.wasm").read_bytes(),
            "merges": first[MERGES].read_bytes(),
            "vae": save(vae),
            "model": first[CONFIGURATION].read_bytes(),
            "weights": save(weights),
            "flow-model": second[CONFIGURATION].read_bytes(),
            "flow-weights": save(of_flow),
        }


def about_the_model(configuration: bytes, of_flow: bytes) -> dict[str, Any]:
    """What a stage offers: the words that the models were trained on, and how one draws."""
    from companion.scenes import backgrounds, subset
    from companion.scenes.captions import RELATIONS

    config = json.loads(configuration)
    factor = 2 ** (len(config["vae"]["block_out_channels"]) - 1)
    return {
        "size": config["unet"]["sample_size"] * factor,
        "latents": config["unet"]["sample_size"],
        "samplers": SAMPLERS,
        "objects": subset(MODEL).objects,
        "backgrounds": list(backgrounds()),
        "relations": RELATIONS,
        "defaults": {**DEFAULTS, "shift": json.loads(of_flow)["scheduler"]["shift"]},
    }


def write_pieces(to: Path) -> int:
    """Write the scripts, and say how many bytes all of them have."""
    to.mkdir(parents=True, exist_ok=True)
    files = packed_files()
    about: dict[str, Any] = {}
    version = hashlib.sha256()
    for name, content in files.items():
        text = base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
        pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
        size = 0
        for number, piece in enumerate(pieces):
            script = f"Live.piece({json.dumps(name)}, {number}, {json.dumps(piece)});\n"
            (to / f"{name}-{number}.js").write_text(script, encoding="ascii")
            size += len(script)
        about[name] = {
            "pieces": len(pieces),
            "bytes": len(content),
            "base64": len(text),
            "size": size,
        }
        version.update(content)
    for path in sorted(ENGINE.parent.glob("*.js")):  # they are loaded with the same version
        version.update(path.read_bytes())
    manifest = {
        "files": about,
        "models": MODELS,
        "version": version.hexdigest()[:12],
        "model": about_the_model(files["model"], files["flow-model"]),
    }
    script = f"Live.manifest({json.dumps(manifest)});\n"
    (to / "manifest.js").write_text(script, encoding="ascii")
    return sum(one["size"] for one in about.values())


def pack(app: Sphinx, exception: Exception | None) -> None:
    """Lay the pieces beside the scripts that load them."""
    if exception or app.builder.name != "html":
        return
    write_pieces(Path(app.outdir) / "_static" / "live" / "pieces")


def setup(app: Sphinx) -> dict[str, Any]:
    """Add it to Sphinx."""
    app.connect("build-finished", pack, priority=900)  # light_pages need not read all this
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
