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

from sphinx.application import Sphinx

ENGINE = Path(__file__).parents[1] / "_static" / "live" / "engine"
# One scope for all: what a file uses stands in those before it.
SCRIPTS = (
    "tokens",
    "noise",
    "levels",
    "samplers",
    "schedulers",
    "tensors",
    "layers",
    "network",
    "heat_maps",
    "denoise",
    "pipeline",
    "worker",
)
MODEL = "stable-diffusion"
PIECE = 2**20  # signs of base64
DEFAULTS = {"steps": 15, "guidance": 4, "sampler": "unipc"}
SAMPLERS = ("ddpm", "ddim", "unipc", "dpm++2m")


def engine() -> str:
    """The text of the worker: all its scripts behind one another."""
    texts = [(ENGINE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return "\n".join([*texts, "serve(self);\n"])


def packed_files() -> dict[str, bytes]:
    """What the worker is given, by name."""
    from companion.zoo import folder
    from companion.zoo.export import MERGES, WEIGHTS, export
    from companion.zoo.export import MODEL as CONFIGURATION

    with tempfile.TemporaryDirectory() as scratch:
        files = export(folder(MODEL), Path(scratch))
        return {
            "engine": engine().encode(),
            "kernels": (ENGINE / "kernels.wasm").read_bytes(),
            "model": files[CONFIGURATION].read_bytes(),
            "merges": files[MERGES].read_bytes(),
            "weights": files[WEIGHTS].read_bytes(),
        }


def about_the_model(configuration: bytes) -> dict[str, Any]:
    """What a stage offers: the words that the model was trained on, and how one draws with it."""
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
        "defaults": DEFAULTS,
    }


def write_pieces(to: Path) -> int:
    """Write the scripts, and say how many bytes all of them have."""
    to.mkdir(parents=True, exist_ok=True)
    files = packed_files()
    about: dict[str, Any] = {}
    total = 0
    version = hashlib.sha256()
    for name, content in files.items():
        text = base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
        pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
        for number, piece in enumerate(pieces):
            script = f"Live.piece({json.dumps(name)}, {number}, {json.dumps(piece)});\n"
            (to / f"{name}-{number}.js").write_text(script, encoding="ascii")
            total += len(script)
        about[name] = {"pieces": len(pieces), "bytes": len(content), "base64": len(text)}
        version.update(content)
    for path in sorted(ENGINE.parent.glob("*.js")):  # they are loaded with the same version
        version.update(path.read_bytes())
    manifest = {
        "files": about,
        "total": total,
        "version": version.hexdigest()[:12],
        "model": about_the_model(files["model"]),
    }
    script = f"Live.manifest({json.dumps(manifest)});\n"
    (to / "manifest.js").write_text(script, encoding="ascii")
    return total


def pack(app: Sphinx, exception: Exception | None) -> None:
    """Lay the pieces beside the scripts that load them."""
    if exception or app.builder.name != "html":
        return
    write_pieces(Path(app.outdir) / "_static" / "live" / "pieces")


def setup(app: Sphinx) -> dict[str, Any]:
    """Add it to Sphinx."""
    app.connect("build-finished", pack, priority=900)  # light_pages need not read all this
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
