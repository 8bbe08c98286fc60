"""The tables of the pages, made of the results: no figure in them is typed.

Each has a name, which stands in the page before and behind it; `tools/write_tables.py` puts it.
"""

from collections.abc import Callable, Sequence

from .goals import goals
from .results import RESULTS, Part, Results, Times, read

NOTES = "notes' loop"
THE_NOTES = "the notes' loop"
SCRIPT = "train_unconditional.py"
NOT_ON_A_GPU = "Not measured: no GPU was at hand. `make gpu` measures it and writes this table."
Table = Callable[[dict[str, Results]], str]


def all_results() -> dict[str, Results]:
    """Every device's, by the name of its file; trials of the code left out."""
    found = {path.stem: read(path) for path in sorted(RESULTS.glob("*.json"))}
    return {
        name: results
        for name, results in found.items()
        if all(part.size == "full" for part in results.parts.values())
    }


def on_cpu(results: dict[str, Results], name: str) -> Part:
    """A part that was measured on a CPU: the chapters' small models.

    Raises:
        ValueError: there is none.
    """
    found = [r.parts[name] for r in results.values() if name in r.parts and r.kind == "cpu"]
    if not found:
        raise ValueError(f"No results have the part {name}: run its benchmark.")
    return found[0]


def value(part: Part, case: str, figure: str) -> float | None:
    """A figure, of times the median; None where it is not there."""
    found = part.cases.get(case, {}).get(figure)
    if isinstance(found, Times):
        return found.median
    return float(found) if isinstance(found, int | float) else None


def shown(number: float | None, form: str, otherwise: str = "") -> str:
    """A figure by a format such as "{:.2f} s", or what stands for none."""
    return otherwise if number is None else form.format(number)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in lines
    )


def ratio(part: Part, case: str, baseline: str, figure: str = "seconds") -> float | None:
    """A case's time by the baseline's."""
    taken, base = value(part, case, figure), value(part, baseline, figure)
    return None if taken is None or base is None else taken / base


def _spread(part: Part, case: str, scale: float = 1000) -> str:
    found = part.cases.get(case, {}).get("seconds")
    return f"{scale * found.low:.0f}..{scale * found.high:.0f}" if isinstance(found, Times) else ""


def sampling_zoo(results: dict[str, Results]) -> str:
    """The zoo's model, one picture and eight."""
    one, eight = on_cpu(results, "sampling-zoo-1"), on_cpu(results, "sampling-zoo-8")
    rows = [
        [
            name,
            shown(value(one, name, "seconds"), "{:.3f} s"),
            _spread(one, name),
            shown(ratio(one, name, NOTES), "{:.2f}"),
            shown(value(eight, name, "seconds"), "{:.3f} s"),
            _spread(eight, name),
            shown(ratio(eight, name, NOTES), "{:.2f}"),
            shown(value(eight, name, "memory_mib"), "{:.1f} MiB"),
            shown(value(eight, name, "psnr_db"), "{:.1f} dB"),
        ]
        for name in one.cases
    ]
    head = ["", "one picture", "min..max, ms", "ratio", "eight at once", "min..max, ms", "ratio"]
    return markdown([*head, "memory, eight", "PSNR, eight"], rows)


def sampling_zoo_in_the_chapter(results: dict[str, Results]) -> str:
    """The same, shorter."""
    one, eight = on_cpu(results, "sampling-zoo-1"), on_cpu(results, "sampling-zoo-8")
    words = {
        "notes' loop": "the notes' loop",
        "optimised": "optimised, PyTorch alone",
        "optimised, guided=0.7": "and `guided=0.7`",
        "OpenVINO": "optimised, OpenVINO",
        "ONNX Runtime": "optimised, ONNX Runtime",
        "compiled": "optimised, and compiled",
        "compiled, guided=0.7": "and `guided=0.7`",
    }
    rows = []
    for name in one.cases:
        times = [
            shown(value(part, name, "seconds"), "{:.2f} s")
            if name == NOTES
            else shown(ratio(part, name, NOTES), "{:.2f}")
            for part in (one, eight)
        ]
        if name == "Diffusers' pipeline":
            times[0] += " of that"
        memory = shown(value(eight, name, "memory_mib"), "{:.0f} MiB")
        rows.append(
            [
                words.get(name, name),
                *times,
                memory,
                shown(value(eight, name, "psnr_db"), "{:.0f} dB"),
            ]
        )
    head = ["", "one picture", "eight at once", "memory beside the weights, eight"]
    return markdown([*head, "likeness"], rows)


# What pip is asked for.
EXTRAS = {"OpenVINO": "openvino", "ONNX Runtime": "onnxruntime"}


def sampling_zoo_short(results: dict[str, Results]) -> str:
    """What `optimise` gains, and what each way takes to set up."""
    one, eight = on_cpu(results, "sampling-zoo-1"), on_cpu(results, "sampling-zoo-8")
    rows = []
    for name in ("optimised", *EXTRAS):
        extra = EXTRAS.get(name)
        rows.append(
            [
                "PyTorch alone" if extra is None else name,
                "nothing" if extra is None else f"`pip install 'diffusers-notes[{extra}]'`",
                shown(value(one, name, "installed_mb"), "{:.0f} MB"),
                shown(value(one, name, "preparing_seconds"), "{:.1f} s"),
                *(shown(_times(ratio(part, name, NOTES)), "{:.2f}") for part in (one, eight)),
                shown(value(eight, name, "psnr_db"), "{:.0f} dB"),
            ]
        )
    head = ["the UNet in", "to install", "on the disk", "to prepare", "one picture", "eight"]
    return markdown([*head, "likeness"], rows)


def live(results: dict[str, Results]) -> str:
    """Drawing in the page, beside what is wanted of it."""
    part = on_cpu(results, "live")
    torchs, pages = "guided call, torch", "guided call, page"
    rows = [
        [
            "a page that nobody draws on, more by",
            shown(value(part, "bytes", "before_kb"), "{:.0f} kB"),
            "60 kB",
        ],
        ["the model, and what runs it", shown(value(part, "bytes", "model_mb"), "{:.1f} MB"), ""],
        ["to load it from this machine", shown(value(part, "load", "seconds"), "{:.2f} s"), "1 s"],
        [
            "the first picture after that, 15 steps shown",
            shown(value(part, "first picture", "seconds"), "{:.2f} s"),
            "1.5 s",
        ],
        [
            "a guided UNet call, in torch's time for it",
            shown(ratio(part, pages, torchs), "{:.2f}"),
            "1.5",
        ],
        [
            "memory of the engine",
            shown(value(part, "memory", "engine_mib"), "{:.0f} MiB"),
            "",
        ],
    ]
    return markdown(["", "found", "at most"], rows)


def flow_call(results: dict[str, Results]) -> str:
    """A call of the transformer beside one of the UNet."""
    part = on_cpu(results, "flow-call")
    rows = [
        [
            name,
            shown(value(part, name, "parameters_million"), "{:.1f} M"),
            shown(value(part, name, "gflop"), "{:.2f}"),
            shown(ratio(part, name, "UNet"), "{:.2f}"),
        ]
        for name in part.cases
    ]
    return markdown(["", "parameters", "GFLOP", "time"], rows)


def flow_quality(results: dict[str, Results]) -> str:
    """Steps against quality, for the UNet and the transformer."""
    part = on_cpu(results, "flow-quality")
    numbers = [2, 4, 8, 15, 25]
    rows = [
        [
            name,
            *(
                shown(value(part, name, f"objects_percent_{n}"), "{:.0f} %")
                + shown(value(part, name, f"background_percent_{n}"), ", {:.0f} %")
                + shown(value(part, name, f"kid_{n}"), ", {:.1f}")
                for n in numbers
            ),
        ]
        for name in part.cases
    ]
    return markdown(["", *(f"{n} steps" for n in numbers)], rows)


def schedulers(results: dict[str, Results]) -> str:
    """Steps against quality."""
    part = on_cpu(results, "schedulers-zoo")
    numbers = [5, 10, 20, 40]
    rows = [
        [
            name,
            str(figures["calls"]),
            *(
                f"{value(part, name, f'right_{n}'):.0f}, {value(part, name, f'psnr_db_{n}'):.1f} dB"
                for n in numbers
            ),
        ]
        for name, figures in part.cases.items()
    ]
    return markdown(["scheduler", "UNet calls", *(f"{n} steps" for n in numbers)], rows)


def training_loops(results: dict[str, Results]) -> str:
    """Time of a run, and memory."""
    part = on_cpu(results, "training-loops")
    columns = ("16", "16_from_256", "32")
    rows = [
        [THE_NOTES, *(f"{value(part, THE_NOTES, f'seconds_{c}'):.1f} s, 1.00" for c in columns)]
    ]
    for name, words in ((SCRIPT, f"settings of `{SCRIPT}`"), ("ours", "`companion.training`")):
        rows.append([words, *(shown(value(part, name, f"ratio_{c}"), "{:.2f}") for c in columns)])
    memory = [
        ", ".join(shown(value(part, name, f"memory_mb_{c}"), "{:.0f}") for name in part.cases)
        + " MB"
        for c in columns
    ]
    rows.append(["peak memory: notes', script's, ours", *memory])
    epochs, pictures = part.settings["epochs"], part.settings["pictures"]
    first = f"`loops`: time of {epochs} epochs of {pictures} pictures, loading and saving included"
    return markdown([first, "16x16", "16x16, from files of 256x256", "32x32"], rows)


def losses(part: Part) -> list[str]:
    """The losses that a run's times are given for, from the highest."""
    prefix = "seconds_to_"
    return [key.removeprefix(prefix) for key in part.cases[THE_NOTES] if key.startswith(prefix)]


def training_target(results: dict[str, Results]) -> str:
    """Time until the notes' losses."""
    rows = []
    for side in (16, 32):
        part = on_cpu(results, f"training-target-{side}")
        for number, loss in enumerate(losses(part)):
            taken = [value(part, name, f"seconds_to_{loss}") for name in part.cases]
            own = ratio(part, "ours", THE_NOTES, f"seconds_to_{loss}")
            cells = [shown(seconds, "{:.1f}", "never") for seconds in taken]
            cells[2] += shown(own, " ({:.2f})")
            rows.append([f"{side}x{side}, {loss}" if number == 0 else loss, *cells])
        ends = [
            ", ".join(
                (
                    f"{value(part, name, 'end_seconds'):.1f}",
                    f"{value(part, name, 'pictures_per_second'):.0f}",
                    f"{value(part, name, 'end_loss'):.4f}",
                )
            )
            for name in part.cases
        ]
        rows.append(["in the end: seconds, pictures a second, loss", *ends])
    head = "`target`: 10 epochs of 960 pictures, seconds until a loss as low as the notes'"
    return markdown([head, "notes'", "script's", "ours"], rows)


def training_target_in_the_book(results: dict[str, Results]) -> str:
    """Two of the losses of each size, and memory."""
    loops = on_cpu(results, "training-loops")
    names = (THE_NOTES, SCRIPT, "ours")
    rows = []
    for side in (16, 32):
        part = on_cpu(results, f"training-target-{side}")
        for loss in (losses(part)[1], losses(part)[3]):
            seconds = (value(part, name, f"seconds_to_{loss}") for name in names)
            cells = (shown(taken, "{:.1f} s", "never") for taken in seconds)
            rows.append([f"{side}×{side}, to a loss of {float(loss):.3f}", *cells])
    for side in (16, 32):
        memory = (shown(value(loops, name, f"memory_mb_{side}"), "{:.0f} MB") for name in names)
        rows.append([f"{side}×{side}, main memory", *memory])
    return markdown(["", "the notes'", "the script's", "the package's"], rows)


def training_budget(results: dict[str, Results]) -> str:
    """Loss for equal samples."""
    part = on_cpu(results, "training-budget")
    numbers = [1920, 3840, 7680]
    words = {SCRIPT: f"settings of `{SCRIPT}`", "ours": "`companion.training`"}
    rows = [
        [words.get(name, name), *(shown(value(part, name, f"loss_{n}"), "{:.4f}") for n in numbers)]
        for name in part.cases
    ]
    head = "`budget`: held-out loss after so many pictures, 16x16"
    return markdown([head, *(f"{n:,}" for n in numbers)], rows)


SPEED_IN_THE_BOOK = {
    "nothing": "none",
    "data on the device": "pictures as bytes on the device",
    "these four, compile": "these four and `compile`",
    "channels_last": "`channels_last`",
    "compile": "`compile`",
}


def training_speed(results: dict[str, Results]) -> str:
    """A step with one trick each."""
    part = on_cpu(results, "training-speed")
    rows = []
    for name in part.cases:
        cell = shown(value(part, name, "ratio"), "{:.2f}")
        low, high = (value(part, name, f"first_seconds_{end}") for end in ("low", "high"))
        if low is not None and high is not None:
            again = shown(
                value(part, name, "again_seconds"), ", {:.0f} s where torch has kept the code"
            )
            cell += f", and a minute to compile ({low:.0f} to {high:.0f} s the first time{again})"
        words = {"nothing": f"no trick ({value(part, 'nothing', 'step_ms'):.1f} ms)"}
        rows.append([words.get(name, name), cell])
    return markdown(["`speed`: a step's time, 16x16", "ratio"], rows)


def training_speed_in_the_book(results: dict[str, Results]) -> str:
    """The same in the book's words."""
    part = on_cpu(results, "training-speed")
    rows = [
        [SPEED_IN_THE_BOOK.get(name, name), shown(value(part, name, "ratio"), "{:.2f}")]
        for name in part.cases
    ]
    return markdown(["trick", "time of a step"], rows)


def training_quality(results: dict[str, Results]) -> str:
    """What each trick does to the pictures."""
    part = on_cpu(results, "training-quality")
    words = {
        "no EMA": "none",
        "EMA, v": "EMA, `v_prediction`",
        "EMA, x_0": "EMA, `sample`",
        "EMA, v, min-SNR": "EMA, `v_prediction`, min-SNR",
    }
    rows = []
    for name in part.cases:
        loss = value(part, name, "noise_loss")
        rows.append(
            [
                words.get(name, name),
                shown(loss, "{:.1f}" if loss is not None and loss >= 1 else "{:.3f}"),
                shown(value(part, name, "x0_error"), "{:.2f}"),
                _mean_and_ends(part, name, "kid_ddpm_50"),
                _mean_and_ends(part, name, "kid_ddim_25"),
            ]
        )

    def of(name: str) -> str:
        mean, low, high = (part.settings[f"kid_of_{name}{end}"] for end in ("", "_low", "_high"))
        return f"{mean:.1f} ({low:.1f} to {high:.1f})"

    scale = f"Scenes that no run saw have a KID of {of('other_scenes')}, noise of {of('noise')}."
    head = ["trick", "loss of the noise", r"error of $\hat x_0$", "KID, DDPM in 50 steps"]
    return f"{scale}\n\n{markdown([*head, 'KID, DDIM in 25'], rows)}"


def _mean_and_ends(part: Part, case: str, figure: str) -> str:
    """A mean with the lowest and the highest of what it is one of."""
    mean, low, high = (value(part, case, figure + end) for end in ("", "_low", "_high"))
    return f"{shown(mean, '{:.1f}')} ({shown(low, '{:.1f}')} to {shown(high, '{:.1f}')})"


def _each_gpu(results: dict[str, Results], table: Callable[[Results], str | None]) -> str:
    """A table for each GPU, with what it was measured with; or that there is none."""
    texts = []
    for found in results.values():
        if found.kind == "gpu" and (text := table(found)):
            part = next(iter(found.parts.values()))
            stack = ", ".join(f"{name} {version}" for name, version in part.versions.items())
            texts.append(f"{found.device}, {part.measured_on}, {stack}:\n\n{text}")
    return "\n\n".join(texts) or NOT_ON_A_GPU


def gpu_goals(results: dict[str, Results]) -> str:
    """What is wanted and what was found."""

    def table(found: Results) -> str:
        verdicts = {True: "reached", False: "not reached", None: ""}
        rows = [[goal.words, goal.found, verdicts[goal.reached]] for goal in goals(found)]
        return markdown(["goal", "found", ""], rows)

    return _each_gpu(results, table)


def gpu_sampling(results: dict[str, Results]) -> str:
    """Stable Diffusion 1.4's shapes."""

    def table(found: Results) -> str | None:
        texts = []
        for count in (1, 4):
            part = found.parts.get(f"sampling-sd14-{count}")
            if part is None:
                continue
            rows = [
                [
                    name,
                    shown(value(part, name, "seconds"), "{:.3f} s", "failed"),
                    _spread(part, name),
                    shown(_times(ratio(part, name, NOTES)), "{:.2f}"),
                    shown(value(part, name, "gpu_mib"), "{:,.0f} MiB"),
                    shown(value(part, name, "psnr_db"), "{:.1f} dB"),
                    shown(value(part, name, "preparing_seconds"), "{:.0f} s"),
                ]
                for name in part.cases
            ]
            pictures = "one picture" if count == 1 else f"{count} at once"
            head = [pictures, "time", "min..max, ms", "times the notes' speed", "peak GPU memory"]
            texts.append(markdown([*head, "PSNR", "to prepare"], rows))
        return "\n\n".join(texts) or None

    return _each_gpu(results, table)


def gpu_training(results: dict[str, Results]) -> str:
    """The notes' model."""

    def table(found: Results) -> str | None:
        part = found.parts.get("training-steps")
        if part is None:
            return None
        rows = [
            [
                name,
                shown(value(part, name, "step_seconds"), "{:.4f} s", "failed"),
                shown(_times(ratio(part, name, THE_NOTES, "step_seconds")), "{:.2f}"),
                shown(value(part, name, "gpu_mib"), "{:,.0f} MiB"),
                shown(value(part, name, "loss"), "{:.4f}"),
            ]
            for name in part.cases
        ]
        head = ["loop", "a step", "times the notes' speed", "peak GPU memory"]
        return markdown([*head, f"loss after {part.settings.get('steps')} steps"], rows)

    return _each_gpu(results, table)


def gpu_tracing(results: dict[str, Results]) -> str:
    """Untraced, daam, ours."""

    def table(found: Results) -> str | None:
        rows = []
        for name, model in (("tracing-sd14", "SD 1.4"), ("tracing-sdxl", "SDXL")):
            part = found.parts.get(name)
            for case in ("untraced", "ours", "daam") if part else ():
                rows.append(
                    [
                        f"{model}, {case}",
                        shown(value(part, case, "seconds"), "{:.3f} s"),
                        shown(ratio(part, case, "untraced"), "{:.3f}"),
                        shown(value(part, case, "memory_mib"), "{:,.1f} MiB"),
                        shown(value(part, case, "map_seconds"), "{:.4f} s"),
                    ]
                )
        head = ["", "time", "ratio", "peak memory beside the weights", "a map for every token"]
        return markdown(head, rows) if rows else None

    return _each_gpu(results, table)


def _times(fraction: float | None) -> float | None:
    return None if fraction is None else 1 / fraction


def _share(part: Part, case: str, figure: str) -> str:
    """A share in per cent with its interval."""
    share, low, high = (value(part, case, figure + end) for end in ("", "_low", "_high"))
    if share is None or low is None or high is None:
        return ""
    return f"{share:.0%} ({low:.0%} to {high:.0%})".replace("%", " %")


def _bytes(count: float | None) -> str:
    if count is None:
        return ""
    if count < 1e3:
        return f"{count:.0f} bytes"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def finetuning_methods(results: dict[str, Results]) -> str:
    """Each method at its end."""
    part = on_cpu(results, "finetuning-methods")
    rows = [["before", "", "", "", *(_share(part, "0 steps", w) for w in ("new", "other", "old"))]]
    for name, figures in part.cases.items():
        if "weights" in figures:
            step = ratio(part, name, "LoRA", "step_seconds")
            rows.append(
                [
                    name,
                    shown(value(part, name, "weights"), "{:,.0f}"),
                    _bytes(value(part, name, "bytes")),
                    shown(step, "{:.2f}"),
                    *(_share(part, name, what) for what in ("new", "other", "old")),
                ]
            )
    head = ["", "numbers trained", "file", "time of a step", "a fox, asked for it"]
    return markdown([*head, "a fox, asked for a koala", "the 16 old objects"], rows)


def _finetuning(name: str, what: str) -> Table:
    """A table of one setting of a LoRA."""

    def table(results: dict[str, Results]) -> str:
        part = on_cpu(results, f"finetuning-{name}")
        sized = name in ("rank", "layers")
        rows = [
            [
                case.replace("-", "−"),
                *([shown(value(part, case, "weights"), "{:,.0f}")] if sized else []),
                *([_bytes(value(part, case, "bytes"))] if sized else []),
                _share(part, case, "new"),
                _share(part, case, "old"),
            ]
            for case in part.cases
        ]
        head = [what, *(["numbers", "file"] if sized else [])]
        return markdown([*head, "a fox, asked for it", "the 16 old objects"], rows)

    return table


TABLES: dict[str, Table] = {
    "finetuning-methods": finetuning_methods,
    "finetuning-layers": _finetuning("layers", "layers"),
    "finetuning-rate": _finetuning("rate", "learning rate"),
    "finetuning-rank": _finetuning("rank", "rank"),
    "finetuning-scale": _finetuning("scale", "scale"),
    "sampling-zoo": sampling_zoo,
    "sampling-zoo-in-the-chapter": sampling_zoo_in_the_chapter,
    "sampling-zoo-short": sampling_zoo_short,
    "schedulers": schedulers,
    "live": live,
    "flow-call": flow_call,
    "flow-quality": flow_quality,
    "training-loops": training_loops,
    "training-target": training_target,
    "training-target-in-the-book": training_target_in_the_book,
    "training-budget": training_budget,
    "training-speed": training_speed,
    "training-speed-in-the-book": training_speed_in_the_book,
    "training-quality": training_quality,
    "gpu-goals": gpu_goals,
    "gpu-sampling": gpu_sampling,
    "gpu-training": gpu_training,
    "gpu-tracing": gpu_tracing,
}
