"""Does attention-map-diffusers 1.0.0 give the maps that we give, of the zoo's flow?

    pip install --no-deps attention-map-diffusers==1.0.0   # all it asks for beside is there
    python benchmarks/other_maps.py            # prints
    python benchmarks/other_maps.py --write    # also beside the table that chapter 7 reads

It exchanges attention processors, keeps queries and keys, and computes the softmax afterwards. Each
of its maps of one picture is compared with ours, by layer and step. Its relation "image->text" is
our direction "text to picture": it names who asks first, we who gives.
"""

import argparse
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from diffusers import StableDiffusion3Pipeline
from lib.agreement import as_text
from transformers import logging

from companion.attention import HeatMaps, trace
from companion.attention.agreement import JOINT
from companion.attention.directions import DIRECTIONS
from companion.zoo import folder

PROMPT, SEED, STEPS, GUIDANCE, EMPTY = "a cat above a car on a green background", 7, 6, 4.0, 256
RELATIONS = {
    name: f"{reader.replace('picture', 'image')}->{source.replace('picture', 'image')}"
    for name, (source, reader) in DIRECTIONS.items()
}


def load() -> StableDiffusion3Pipeline:
    """The zoo's flow, as a stock pipeline calls it: zeros in T5's place."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    pipe = StableDiffusion3Pipeline.from_pretrained(
        folder("flow"), text_encoder_3=None, tokenizer_3=None
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe: StableDiffusion3Pipeline) -> torch.Tensor:
    """One picture's latents."""
    latents: torch.Tensor = pipe(
        PROMPT,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        max_sequence_length=EMPTY,
        output_type="latent",
        generator=torch.Generator().manual_seed(SEED),
    ).images
    return latents


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and its processor time in seconds."""
    began = time.process_time()
    return run(), time.process_time() - began


def ours_of(pipe: StableDiffusion3Pipeline, direction: str) -> tuple[torch.Tensor, HeatMaps]:
    """The picture and our sums, the mean over heads, by step and layer."""
    with trace(pipe, ("step", "layer"), direction=direction) as maps:
        latents = draw(pipe)
    return latents, maps


def theirs_of(pipe: StableDiffusion3Pipeline, relation: str) -> tuple[torch.Tensor, Any, int]:
    """The picture, their maps, and the bytes that they held for them."""
    from attention_map_diffusers import AttentionCapture

    with AttentionCapture(pipe, relations=[relation], timesteps="all") as capture:
        latents = draw(pipe)
    held = capture.collector.peak_capture_bytes
    return latents, capture.compute(), held


def difference(maps: HeatMaps, theirs: Any) -> tuple[float, int]:
    """The largest difference of a share, and how many maps were compared."""
    source, reader = DIRECTIONS[maps.direction]
    order = sorted({record.timestep for record in theirs}, reverse=True)
    worst, compared = 0.0, 0
    for record in theirs:
        name = record.layer_id.removeprefix("transformer.").removesuffix(".attn")
        if name not in maps.layers:
            continue
        theirs_here = record.data[-1].float().mean(0)  # the guided half: (queries, keys)
        tokens = list(maps.positions)
        if reader == "text":
            theirs_here = theirs_here[tokens]
        if source == "text":
            theirs_here = theirs_here[:, tokens]
        layer, step = maps.layers.index(name), order.index(record.timestep)
        (mine,) = (s for key, s in maps.sums.items() if (key.step, key.layer) == (step, layer))
        mine = mine[0, 0].flatten(1) / maps.heads[layer]
        if maps.direction == "text to picture":
            mine = mine.mT
        worst = max(worst, float((mine - theirs_here).abs().max()))
        compared += 1
    return worst, compared


def main() -> int:
    """Compare, print, and perhaps write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--write", action="store_true", help=f"also into {JOINT.name}")
    options = parser.parse_args()
    if find_spec("attention_map_diffusers") is None:
        print("attention-map-diffusers is not installed; the first lines of this file say how.")
        return 0
    pipe = load()
    untraced, alone = timed(lambda: draw(pipe))
    found: dict[str, Any] = {"version": version("attention-map-diffusers")}
    for direction, relation in RELATIONS.items():
        (ours, maps), our_time = timed(lambda name=direction: ours_of(pipe, name))
        (theirs, records, held), their_time = timed(lambda name=relation: theirs_of(pipe, name))
        worst, compared = difference(maps, records)
        layers = {record.layer_id for record in records}
        found[direction] = {
            "largest difference": worst,
            "maps compared": compared,
            "their layers": len(layers),
            "our layers": len(maps.layers),
            "their picture is the untraced one": torch.equal(theirs, untraced),
            "our picture is the untraced one": torch.equal(ours, untraced),
            "their bytes": held,
            "our bytes": sum(s.numel() * s.element_size() for s in maps.sums.values()),
            "their time": round(their_time / alone, 2),
            "our time": round(our_time / alone, 2),
        }
        print(direction, json.dumps(found[direction], indent=1))
    if options.write:
        table = json.loads(JOINT.read_text(encoding="utf-8"))
        table["attention-map-diffusers"] = {
            "command": "python benchmarks/other_maps.py --write",
            **found,
        }
        JOINT.write_text(as_text(table), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
