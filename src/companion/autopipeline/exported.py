"""A UNet that another program computes, in the place of Diffusers' own.

Optimum's releases do not fit Diffusers and transformers of today, so this is a small export of our
own: it keeps a pipeline an ordinary one, and saves the files that Optimum would.
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
        file: what it writes into a folder, named as Optimum does.
    """

    title: ClassVar[str]
    module: ClassVar[str]
    knows_bfloat16: ClassVar[bool]
    file: ClassVar[str]

    def __init__(self, folder: Path, half: bool) -> None:
        self.folder = folder
        self.half = half

    @classmethod
    def installed(cls) -> bool:
        """Whether this environment has it."""
        return importlib.util.find_spec(cls.module) is not None

    @classmethod
    def write(cls, plain: nn.Module, examples: Mapping[str, Tensor], folder: Path) -> None:
        """Export a network whose pictures may be any number and have any size."""
        raise NotImplementedError

    def run(self, given: Arrays) -> Any:
        """The network's answer to arrays by name."""
        raise NotImplementedError


class OpenVINO(Runtime):
    """Compiles the network anew for each shape, which takes a moment and makes it faster."""

    title = "OpenVINO"
    module = "openvino"
    knows_bfloat16 = True
    file = "openvino_model.xml"

    def __init__(self, folder: Path, half: bool) -> None:
        super().__init__(folder, half)
        import openvino

        self.core = openvino.Core()
        self.model = self.core.read_model(folder / self.file)
        size = (folder / self.file).with_suffix(".bin").stat().st_size
        self.room = max(1, min(8, GIB // size))  # each shape has weights of its own
        self.requests: OrderedDict[Any, Any] = OrderedDict()

    @classmethod
    def write(cls, plain: nn.Module, examples: Mapping[str, Tensor], folder: Path) -> None:
        """By OpenVINO's own converter."""
        import openvino

        model = openvino.convert_model(plain, example_input=dict(examples))
        shapes = {
            name: [
                dim if at == 1 and name == "sample" else -1 for at, dim in enumerate(given.shape)
            ]
            for name, given in examples.items()
        }
        for name, place in zip(examples, model.inputs, strict=True):
            place.get_tensor().set_names({name})
        model.reshape(shapes)
        openvino.save_model(model, folder / cls.file, compress_to_fp16=False)

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
    file = "model.onnx"

    def __init__(self, folder: Path, half: bool) -> None:
        super().__init__(folder, half)
        self.sessions: dict[int, Any] = {}

    @classmethod
    def write(cls, plain: nn.Module, examples: Mapping[str, Tensor], folder: Path) -> None:
        """By torch's exporter of old: the new one takes twenty times as long, and two packages."""
        free = {name: {0: "pictures"} for name in examples if name != "timestep"}
        free["sample"] |= {2: "height", 3: "width"}
        free["encoder_hidden_states"] |= {1: "tokens"}
        torch.onnx.export(
            plain,
            tuple(examples.values()),
            folder / cls.file,
            input_names=list(examples),
            output_names=["noise"],
            dynamic_axes=free,
            dynamo=False,
        )

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
                    self.folder / self.file, options, providers=["CPUExecutionProvider"]
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
        """Read what `save_pretrained` wrote.

        Args:
            folder: of this machine, by yourself.
            half: compute in bfloat16, where the program can.

        Raises:
            ValueError: there is nothing that one of the programs reads.
        """
        path = Path(folder)
        for runtime in RUNTIMES.values():
            if (path / runtime.file).exists():
                config = cls.load_config(path)
                return cls(runtime(path, half and runtime.knows_bfloat16), config)
        files = " or ".join(runtime.file for runtime in RUNTIMES.values())
        raise ValueError(f"In {path} is no {files}: give a folder that save_pretrained wrote.")


def export(unet: Any, runtime: type[Runtime], *, half: bool) -> ExportedUNet:
    """Give a UNet to another program.

    Args:
        unet: of Diffusers, on a CPU.
        runtime: one of `RUNTIMES`.
        half: compute in bfloat16.
    """
    if unet.dtype != torch.float32:
        unet = torch.nn.Module.float(copy.deepcopy(unet))
    held = tempfile.TemporaryDirectory(prefix="companion-unet-")
    folder = Path(held.name)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of what tracing leaves out, and that it is of old
        runtime.write(_Plain(unet), _examples(unet.config), folder)
    return ExportedUNet(runtime(folder, half), dict(unet.config), held)
