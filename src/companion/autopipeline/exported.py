"""A UNet that another program computes, in the place of Diffusers' own.

Optimum's releases do not fit Diffusers and transformers of today, so this is a small export of our
own: it keeps a pipeline an ordinary one. Both programs read ONNX, so there is one export for both.
"""

import copy
import importlib.util
import os
import shutil
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor, nn

Arrays = dict[str, Any]
GIB = 2**30
FILE = "model.onnx"  # as Optimum names it
# Above this timestep a picture's layout is decided, and a small error may become another picture:
# of 32 pictures in bfloat16 the worst came to 33 dB, with the noisiest steps in float32 to 46.
NOISY = 900


class _Plain(nn.Module):
    """A UNet as exporters see it: tensors in, one tensor out."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        class_labels: Tensor | None = None,
    ) -> Tensor:
        answer = self.unet(
            sample, timestep, encoder_hidden_states, class_labels=class_labels, return_dict=False
        )
        return answer[0]


def _examples(config: Any) -> dict[str, Tensor]:
    """Inputs to trace a UNet with."""
    side = config.sample_size
    given = {
        "sample": torch.zeros(2, config.in_channels, side, side),
        "timestep": torch.tensor(500.0),
        "encoder_hidden_states": torch.zeros(2, 77, config.cross_attention_dim),
    }
    if config.num_class_embeds:  # the upscaler is told a level of noise
        given["class_labels"] = torch.zeros(2, dtype=torch.long)
    return given


class Runtime:
    """A program that computes networks.

    Attributes:
        title: its name for people.
        module: its name for Python.
        knows_bfloat16: whether it can compute a float32 network in bfloat16.
    """

    title: ClassVar[str]
    module: ClassVar[str]
    knows_bfloat16: ClassVar[bool]

    def __init__(self, folder: Path, half: bool) -> None:
        self.folder = folder
        self.half = half and self.knows_bfloat16

    @classmethod
    def installed(cls) -> bool:
        """Whether this environment has it, and what it reads networks with."""
        return all(importlib.util.find_spec(name) is not None for name in (cls.module, "onnx"))

    def run(self, given: Arrays) -> Any:
        """The network's answer to arrays by name."""
        raise NotImplementedError


class OpenVINO(Runtime):
    """Compiles the network anew for each shape, which takes a moment and makes it faster."""

    title = "OpenVINO"
    module = "openvino"
    knows_bfloat16 = True

    def __init__(self, folder: Path, half: bool) -> None:
        super().__init__(folder, half)
        import openvino

        self.core = openvino.Core()
        self.model = self.core.read_model(folder / FILE)
        size = sum(file.stat().st_size for file in folder.iterdir())
        self.room = max(1, min(8, GIB // size))  # each shape has weights of its own
        self.requests: OrderedDict[Any, Any] = OrderedDict()

    def run(self, given: Arrays) -> Any:
        """As the program answers."""
        half = self.half and float(given["timestep"]) <= NOISY
        return self._request(given, half).infer(given, share_inputs=True)[0]

    def _request(self, given: Arrays, half: bool) -> Any:
        shapes = {name: array.shape for name, array in given.items()}
        key = (*shapes.values(), torch.get_num_threads(), half)
        if key in self.requests:
            self.requests.move_to_end(key)
            return self.requests[key]
        model = self.model.clone()
        model.reshape(shapes)
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        while len(self.requests) >= self.room:
            self.requests.popitem(last=False)
        self.requests[key] = self.core.compile_model(model, "CPU", settings).create_infer_request()
        return self.requests[key]


class OnnxRuntime(Runtime):
    """Takes any shape, in float32."""

    title = "ONNX Runtime"
    module = "onnxruntime"
    knows_bfloat16 = False

    def __init__(self, folder: Path, half: bool) -> None:
        super().__init__(folder, half)
        self.sessions: dict[int, Any] = {}

    def run(self, given: Arrays) -> Any:
        """As the program answers."""
        return self._session(torch.get_num_threads()).run(None, given)[0]

    def _session(self, threads: int) -> Any:
        if threads not in self.sessions:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            self.sessions = {
                threads: onnxruntime.InferenceSession(
                    self.folder / FILE, options, providers=["CPUExecutionProvider"]
                )
            }
        return self.sessions[threads]


RUNTIMES: dict[str, type[Runtime]] = {"openvino": OpenVINO, "onnxruntime": OnnxRuntime}
# What looks into a UNet or changes it, by the first letters.
INSIDE = ("attn_processors", "set_attn", "fuse_", "unfuse_", "load_", "add_adapter", "enable_")


class ExportedUNet(ModelMixin, ConfigMixin):
    """A UNet in another program, called as Diffusers' own is."""

    config_name = "config.json"

    def __init__(self, runtime: Runtime, config: Mapping[str, Any], held: Any = None) -> None:
        super().__init__()
        self.register_to_config(**config)
        self.runtime = runtime
        self.held = held  # a temporary folder, which lives as long
        # The levels of the UNet halve the latents, and the export knows whole halves only.
        self.divisor = 2 ** (len(config["block_out_channels"]) - 1)

    dtype = torch.float32
    device = torch.device("cpu")

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        class_labels: Tensor | None = None,
        return_dict: bool = True,
        **others: Any,
    ) -> Any:
        """The noise in latents.

        Raises:
            ValueError: an argument that the program does not take.
        """
        for name, value in others.items():
            if value is not None:
                raise ValueError(f"{self._who()} takes no {name}: {self._remedy()}")
        if any(side % self.divisor for side in sample.shape[-2:]):
            raise ValueError(
                f"{self._who()} takes latents whose sides are multiples of {self.divisor}, not "
                f"{'x'.join(map(str, sample.shape[-2:]))}: take another size, or {self._remedy()}"
            )
        times = torch.as_tensor(timestep, dtype=torch.float32).flatten()
        if bool((times != times[0]).any()):
            raise ValueError(f"{self._who()} takes one timestep for all pictures: {self._remedy()}")
        given = {
            "sample": sample,
            "timestep": times[0],
            "encoder_hidden_states": encoder_hidden_states,
        }
        arrays: Arrays = {
            name: np.asarray(value.detach().float().cpu().contiguous())
            for name, value in given.items()
        }
        if self.config.num_class_embeds:
            if class_labels is None:
                raise ValueError("class_labels should be provided when num_class_embeds > 0")
            arrays["class_labels"] = class_labels.detach().long().cpu().numpy()
        noise = torch.from_numpy(self.runtime.run(arrays)).to(sample.dtype)
        return UNet2DConditionOutput(sample=noise) if return_dict else (noise,)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(INSIDE):
            raise AttributeError(f"{self._who()} has no {name}: {self._remedy()}")
        return super().__getattr__(name)

    def _who(self) -> str:
        return f"This UNet, which {self.runtime.title} computes,"

    def _remedy(self) -> str:
        return "load the pipeline anew, and call optimise(pipe, extras=()) or leave it as it is."

    def save_pretrained(self, save_directory: str | os.PathLike[str], **_: Any) -> None:
        """Write the program's files and the UNet's settings into a folder."""
        into = Path(save_directory)
        into.mkdir(parents=True, exist_ok=True)
        self.save_config(into)
        for file in self.runtime.folder.iterdir():
            if file.name != self.config_name:
                shutil.copy(file, into / file.name)

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], *, half: bool = False, **_: Any
    ) -> "ExportedUNet":
        """Read what `save_pretrained` wrote, with the first program that is installed.

        Args:
            folder: of this machine, by yourself.
            half: compute in bfloat16, where the program can.

        Raises:
            ValueError: there is no such file.
            ImportError: none of the programs is installed.
        """
        path = Path(folder)
        if not (path / FILE).exists():
            raise ValueError(f"In {path} is no {FILE}: give a folder that save_pretrained wrote.")
        for runtime in RUNTIMES.values():
            if runtime.installed():
                return cls(runtime(path, half), cls.load_config(path))
        raise ImportError(
            "Neither OpenVINO nor ONNX Runtime is here: pip install 'diffusers-notes[openvino]'."
        )


def export(unet: Any, runtime: type[Runtime], *, half: bool) -> ExportedUNet:
    """Give a UNet to another program.

    Args:
        unet: of Diffusers, on a CPU.
        runtime: one of `RUNTIMES`.
        half: compute in bfloat16, where it can.
    """
    if unet.dtype != torch.float32:
        unet = torch.nn.Module.float(copy.deepcopy(unet))
    held = tempfile.TemporaryDirectory(prefix="companion-unet-")
    folder = Path(held.name)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of what tracing leaves out, and that it is of old
        _write(_Plain(unet), _examples(unet.config), folder)
    return ExportedUNet(runtime(folder, half), dict(unet.config), held)


def _write(plain: nn.Module, examples: Mapping[str, Tensor], folder: Path) -> None:
    """Export a network, so that pictures may be any number and have any size.

    By torch's exporter of old: the new one takes twenty times as long.
    """
    free = {name: {0: "pictures"} for name in examples if name != "timestep"}
    free["sample"] |= {2: "height", 3: "width"}
    free["encoder_hidden_states"] |= {1: "tokens"}
    torch.onnx.export(
        plain,
        tuple(examples.values()),
        folder / FILE,
        input_names=list(examples),
        output_names=["noise"],
        dynamic_axes=free,
        dynamo=False,
    )
