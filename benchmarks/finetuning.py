"""What fine-tuning teaches the zoo's Stable Diffusion, and what it makes it forget.

    python benchmarks/finetuning.py            all that the results do not have yet
    python benchmarks/finetuning.py methods    LoRA, textual inversion, DreamBooth, over their steps
    python benchmarks/finetuning.py layers     also: rate, rank, scale; a LoRA's settings
    python benchmarks/finetuning.py --write    the curves of the methods, as the chapter plots them

The new object is a fox, taught from five pictures on five backgrounds and asked for on the others.
What was forgotten is asked with all 16 objects that the model knew. The zoo's classifier counts;
every count has its Wilson interval of 95 %. Each case is one run from one seed. Times are those of
the processor, on one thread. What is measured goes to `benchmarks/results` at once; a part that was
cut off goes on with the cases that it lacks.
"""

import argparse
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from lib.results import RESULTS, Recorder
from lib.tables import all_results, on_cpu, value
from lib.time_limit import TimeLimit

from companion.finetuning import (
    FinetuneConfig,
    FinetuneRun,
    Remembered,
    finetune,
    forgetting,
    load_finetuned,
)
from companion.finetuning.config import RATES
from companion.finetuning.examples import HELD_OUT
from companion.finetuning.forgotten import TABLE
from companion.scenes import subset
from companion.zoo import folder

Settings = Mapping[str, Any]
OBJECT, OTHER = "fox", "koala"  # the new thing, and another word that the model never met
LORA: Settings = {"method": "lora", "rank": 8, "alpha": 8.0, "learning_rate": RATES["lora"]}
OWN_WORD: Settings = {**LORA, "token": "<fox>", "initial_word": "cat"}
DREAMBOOTH: Settings = {"method": "dreambooth", "learning_rate": RATES["dreambooth"]}
# By part, by case: what is set otherwise than in `Lab.config`.
PARTS: dict[str, dict[str, Settings]] = {
    "methods": {
        "LoRA": LORA,
        "DreamBooth": DREAMBOOTH,
        "textual inversion": {
            "method": "textual_inversion",
            "token": "<fox>",
            "initial_word": "cat",
            "learning_rate": RATES["textual_inversion"],
        },
        "DreamBooth, prior kept": {**DREAMBOOTH, "prior_weight": 1.0, "prior_pictures": 32},
        "LoRA, a word of its own": OWN_WORD,
    },
    "layers": {
        "attention to the words": {**OWN_WORD, "layers": "cross"},
        "attention to the places": {**OWN_WORD, "layers": "self"},
        "both": OWN_WORD,
        "both, text encoder too": {**OWN_WORD, "text_encoder": True},
    },
    "rate": {f"{rate:g}": {**OWN_WORD, "learning_rate": rate} for rate in (2e-4, 6e-4, 2e-3, 6e-3)},
    "rank": {
        f"{rank}": {**OWN_WORD, "rank": rank, "alpha": float(rank)} for rank in (1, 2, 4, 8, 16)
    },
}
SCALES = (-1.0, 0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


class Lab:
    """Trains and asks, at full size or at that of a trial of the code."""

    def __init__(self, options: argparse.Namespace) -> None:
        small = options.size == "small"
        self.options = options
        self.steps, self.every, self.batch = (2, 1, 2) if small else (200, 50, 8)
        self.sampling = {"steps": 2 if small else 8}
        self.objects = ("cat",) if small else None
        self.seeds = (0,) if small else (0, 1, 2)
        self.folder = Path(tempfile.mkdtemp(prefix="finetuning-"))

    def recorder(self, part: str) -> Recorder:
        """What writes a part down."""
        return Recorder(
            f"finetuning-{part}",
            on_gpu=False,
            precision="float32",
            settings={
                "object": OBJECT,
                "pictures": 5,
                "steps": self.steps,
                "every": self.every,
                "batch": self.batch,
                "new_pictures": len(HELD_OUT) * len(self.seeds),
                "old_pictures": 2 * len(self.objects or subset("stable-diffusion").objects),
                "threads": torch.get_num_threads(),
                "clock": "processor",
            },
            size=self.options.size,
            folder=self.options.results,
        )

    def config(self, settings: Settings) -> FinetuneConfig:
        """Of a run on five pictures of the new object."""
        return FinetuneConfig(
            dataset_name=f"object:{OBJECT}",
            output_dir=str(self.folder / "run"),
            steps=self.steps,
            train_batch_size=self.batch,
            overwrite_output_dir=True,
            progress_bar=False,
            **settings,
        )

    def ask(self, pipeline: StableDiffusionPipeline, word: str = OBJECT) -> dict[str, float]:
        """How often the new thing is drawn by its word and by another one, the old ones by theirs,
        and the new one in their place."""

        def new(called: str, seeds: Sequence[int]) -> Remembered:
            return forgetting(
                pipeline,
                (OBJECT,),
                old=(),
                backgrounds=HELD_OUT,
                seeds=seeds,
                words={OBJECT: called},
                **self.sampling,
            )

        asked, other = new(word, self.seeds), new(OTHER, self.seeds[:1])
        old = forgetting(
            pipeline, (OBJECT,), old=self.objects, backgrounds=HELD_OUT[:2], **self.sampling
        )
        figures: dict[str, float] = {}
        for name, found in {
            "new": asked.new,
            "other": other.new,
            "old": old.old,
            "leaked": old.leaked,
        }.items():
            figures |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
        return figures


def size_of(run: FinetuneRun) -> float:
    """Bytes of the weights that one hands on, without what a run keeps to go on."""
    kept = {"steps", "checkpoints", "samples", "prior"}
    files = [
        file
        for file in run.folder.rglob("*.safetensors")
        if not kept & {*file.relative_to(run.folder).parts}
    ]
    return float(sum(file.stat().st_size for file in files))


def runs(lab: Lab, part: str) -> None:
    """Train and ask the cases of a part; the methods also on their way."""
    recorder, methods = lab.recorder(part), lab.recorder("methods")
    if part == "methods" and "0 steps" not in recorder and not lab.options.limit.over():
        plain = StableDiffusionPipeline.from_pretrained(
            folder("stable-diffusion"), use_safetensors=True
        )
        recorder.note("0 steps", **lab.ask(plain))
    for name, settings in PARTS[part].items():
        if name in recorder or lab.options.limit.over():
            continue
        same = "LoRA, a word of its own"
        if part != "methods" and settings == OWN_WORD and same in methods:
            recorder.note(name, **methods.part.cases[same])
            continue
        run = finetune(
            lab.config({**settings, "save_every": lab.every if part == "methods" else 0})
        )
        word = settings.get("token") or OBJECT
        for step, version in sorted(run.versions.items()):
            figures = lab.ask(load_finetuned(version), word)
            if step < lab.steps:
                recorder.note(f"{name}, {step} steps", **figures)
        figures |= {
            "bytes": size_of(run),
            "weights": float(run.weights),
            "step_seconds": run.seconds / lab.steps,
        }
        recorder.note(name, **figures)
        print(part, name, {key: round(found, 3) for key, found in figures.items()}, flush=True)
    if not lab.options.limit.over():
        recorder.finish()


def scale(lab: Lab) -> None:
    """One LoRA, counted more and less, and the other way round."""
    recorder = lab.recorder("scale")
    missing = [each for each in SCALES if f"{each:g}" not in recorder]
    if missing and not lab.options.limit.over():
        pipeline = load_finetuned(finetune(lab.config(OWN_WORD)).folder)
        (adapter,) = pipeline.get_list_adapters()["unet"]
        for each in missing:
            if lab.options.limit.over():
                return
            pipeline.set_adapters(adapter, each)
            recorder.note(f"{each:g}", **lab.ask(pipeline, OWN_WORD["token"]))
            print("scale", each, recorder.part.cases[f"{each:g}"], flush=True)
    recorder.finish()


def write_curves() -> None:
    """Put the methods' curves where the chapter reads them."""
    part = on_cpu(all_results(), "finetuning-methods")
    last, every = (int(part.settings[name]) for name in ("steps", "every"))
    curves: dict[str, dict[str, Any]] = {}
    for name in PARTS["methods"]:
        cases = {step: f"{name}, {step} steps" for step in range(every, last, every)}
        cases = {0: "0 steps", **cases, last: name}
        if name in part.cases:
            curves[name] = {"steps": list(cases)}
            for what in ("new", "new_low", "new_high", "old", "old_low", "old_high"):
                shares = (value(part, case, what) for case in cases.values())
                curves[name][what] = [round(share, 3) for share in shares if share is not None]
    told = {
        "command": "python benchmarks/finetuning.py methods",
        "pictures": {name: part.settings[f"{name}_pictures"] for name in ("new", "old")},
        "curves": curves,
    }
    text = json.dumps(told, indent=1)
    text = re.sub(r"\[[^\]]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text)
    TABLE.write_text(text + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the results do not have yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join([*PARTS, 'scale'])}")
    parser.add_argument("--write", action="store_true", help="only write the chapter's curves")
    parser.add_argument("--minutes", type=float, help="begin nothing new after so many")
    parser.add_argument("--size", choices=("full", "small"), default="full", help="small: a trial")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder; default: %(default)s"
    )
    options = parser.parse_args(arguments)
    unknown = {*options.parts} - {*PARTS, "scale"}
    if unknown:
        parser.error(f"there is no part {min(unknown)}; there are {', '.join([*PARTS, 'scale'])}")
    if options.write:
        return write_curves()
    options.limit = TimeLimit(options.minutes)
    lab = Lab(options)
    for part in options.parts or [*PARTS, "scale"]:
        scale(lab) if part == "scale" else runs(lab, part)
    return None


if __name__ == "__main__":
    main()
