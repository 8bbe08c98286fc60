"""What fine-tuning teaches the zoo's Stable Diffusion, and what it makes it forget.

    python benchmarks/finetuning.py            all that the results do not have yet
    python benchmarks/finetuning.py methods    LoRA, textual inversion, DreamBooth, over their steps
    python benchmarks/finetuning.py rank       also: layers, rate, scale; a LoRA's settings

The new object is a fox, taught from five pictures on five backgrounds and asked for on the others.
What was forgotten is asked with all 16 objects that the model knew. The zoo's classifier counts;
every count has its Wilson interval of 95 %. Each case is one run from one seed. Times are those of
the processor, on one thread. What is measured goes to `benchmarks/results` at once; a part that was
cut off goes on with the cases that it lacks.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from lib.results import RESULTS, Recorder
from lib.time_limit import TimeLimit

from companion.finetuning import (
    FinetuneConfig,
    FinetuneRun,
    finetune,
    forgetting,
    load_examples,
    load_finetuned,
)
from companion.zoo import folder as zoo_folder

Settings = Mapping[str, Any]
OBJECT, OTHER = "fox", "koala"  # the new thing, and another word that the model never met
LORA: Settings = {"method": "lora", "rank": 16, "alpha": 16.0}
# By part, by case: what is set otherwise than in `Lab.config`.
PARTS: dict[str, dict[str, Settings]] = {
    "methods": {
        "LoRA": LORA,
        "LoRA, a word of its own": {**LORA, "token": "<fox>"},
        "textual inversion": {"method": "textual_inversion", "token": "<fox>"},
        "DreamBooth": {"method": "dreambooth"},
        "DreamBooth, prior kept": {"method": "dreambooth", "prior_weight": 1.0},
    },
    "rank": {
        f"rank {rank}": {**LORA, "rank": rank, "alpha": float(rank)} for rank in (1, 2, 4, 8, 16)
    },
    "layers": {
        "attention to the words": {**LORA, "layers": "cross"},
        "attention to the places": {**LORA, "layers": "self"},
        "both": LORA,
        "both, text encoder too": {**LORA, "text_encoder": True},
    },
    "rate": {f"{rate:g}": {**LORA, "learning_rate": rate} for rate in (3e-4, 1e-3, 3e-3, 1e-2)},
}
SCALES = (-1.0, -0.5, 0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


class Lab:
    """Trains and asks, at full size or at that of a trial of the code."""

    def __init__(self, options: argparse.Namespace) -> None:
        small = options.size == "small"
        self.options = options
        self.steps, self.every, self.batch = (2, 1, 2) if small else (240, 40, 8)
        self.sampling = {"steps": 2 if small else 10}
        self.objects = ("cat",) if small else None
        self.seeds = (0,) if small else (0, 1, 2, 3)
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
                "batch": self.batch,
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
        """How often the new thing is drawn by its word and by another one, and the old ones by
        theirs."""
        grounds = load_examples(self.config(LORA)).held_out

        def new(called: str) -> Any:
            return forgetting(
                pipeline,
                new=(OBJECT,),
                objects=(),
                backgrounds=grounds,
                seeds=self.seeds,
                words={OBJECT: called},
                **self.sampling,
            )

        asked, other = new(word), new(OTHER)
        old = forgetting(pipeline, new=(), objects=self.objects, **self.sampling)
        figures = {"background": asked.background.mean}
        for name, found in {"new": asked.new, "other": other.new, "old": old.old}.items():
            figures |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
        return figures


def size_of(run: FinetuneRun) -> float:
    """Bytes of the weights that one hands on, without what a run keeps to go on."""
    kept = {"steps", "checkpoints", "samples", "prior"}
    files = run.folder.rglob("*.safetensors")
    return float(
        sum(file.stat().st_size for file in files if not kept & {*file.relative_to(run.folder).parts})
    )


def runs(lab: Lab, part: str) -> None:
    """Train and ask the cases of a part; the methods also on their way."""
    recorder = lab.recorder(part)
    if part == "methods" and "0 steps" not in recorder and not lab.options.limit.over():
        recorder.note("0 steps", **lab.ask(load_finetuned(zoo_folder("stable-diffusion"))))
    for name, settings in PARTS[part].items():
        if name in recorder or lab.options.limit.over():
            continue
        run = finetune(
            lab.config({**settings, "save_every": lab.every if part == "methods" else 0})
        )
        for step, folder in sorted(run.versions.items()):
            figures = lab.ask(load_finetuned(folder), settings.get("token") or OBJECT)
            if step < lab.steps:
                recorder.note(f"{name}, {step} steps", **figures)
        figures |= {
            "bytes": size_of(run),
            "weights": float(run.weights),
            "step_seconds": run.seconds / lab.steps,
        }
        recorder.note(name, **figures)
        print(part, name, {key: round(value, 3) for key, value in figures.items()}, flush=True)
    if not lab.options.limit.over():
        recorder.finish()


def scale(lab: Lab) -> None:
    """One LoRA, counted more and less, and the other way round."""
    recorder = lab.recorder("scale")
    missing = [each for each in SCALES if f"{each:g}" not in recorder]
    if missing and not lab.options.limit.over():
        pipeline = load_finetuned(finetune(lab.config(LORA)).folder)
        (adapter,) = pipeline.get_list_adapters()["unet"]
        for each in missing:
            if lab.options.limit.over():
                return
            pipeline.set_adapters(adapter, each)
            recorder.note(f"{each:g}", **lab.ask(pipeline))
            print("scale", each, recorder.part.cases[f"{each:g}"], flush=True)
    recorder.finish()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the results do not have yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS, "scale"], help="default: all")
    parser.add_argument("--minutes", type=float, help="begin nothing new after so many")
    parser.add_argument("--size", choices=("full", "small"), default="full", help="small: a trial")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder; default: %(default)s"
    )
    options = parser.parse_args(arguments)
    options.limit = TimeLimit(options.minutes)
    lab = Lab(options)
    for part in options.parts or [*PARTS, "scale"]:
        scale(lab) if part == "scale" else runs(lab, part)


if __name__ == "__main__":
    main()
