"""All that a picture depends on, and drawing it again."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from PIL import Image
from pydantic import ConfigDict, Field

from companion.door import printable
from companion.door.prompts import LONGEST
from companion.door.text import fault_of
from companion.local_hub.cache_layout import snapshot_of

from .arguments import LARGEST_SEED
from .checks import prepare
from .drawing import run
from .loading import task_of
from .schedulers import scheduler_of

Name = Annotated[str, Field(max_length=500)]


@dataclass(frozen=True)
class Settings:
    """All that a picture depends on.

    Attributes:
        task: a name of `TASKS`.
        model: the zoo's name, or the hub's id with "@" and the commit, or the folder's name.
        prompt: what was drawn.
        seed: of the noise, 0 to 2^64 - 1.
        arguments: the other arguments of `draw`; pictures among them are whole.
        scheduler: its class and configuration.
        precision: of the UNet's weights.
        versions: of diffusers and torch.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # when it comes from a file

    task: Name
    model: Name
    prompt: Annotated[str, Field(max_length=LONGEST)]
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)]
    arguments: dict[str, Any]
    scheduler: dict[str, Any]
    precision: Name
    versions: dict[Name, Name] = field(default_factory=dict)

    def redraw(self, pipe: Any) -> Image.Image:
        """Draw the picture again; the pipeline's own scheduler is back in the end.

        Args:
            pipe: a pipeline of the same task and model.

        Raises:
            ValueError: a pipeline of another task or model, or settings that cannot be drawn.
            MemoryError: the picture does not fit into the memory of the device.
        """
        if not isinstance(self.arguments, dict) or not isinstance(self.scheduler, dict):
            raise ValueError("The settings' arguments and scheduler are dicts, but these are not.")
        if (task_of(pipe), model_of(pipe)) != (self.task, self.model):
            raise ValueError(
                f"The picture is of the task {printable(str(self.task))} and the model "
                f"{printable(str(self.model))}, but the pipeline is of {task_of(pipe)} and "
                f"{model_of(pipe)}: load the picture's."
            )
        own = pipe.scheduler
        pipe.scheduler = scheduler_of(self.scheduler, self.arguments.get("num_inference_steps", 50))
        try:
            (picture,) = run(pipe, prepare(pipe, self.prompt, [self.seed], self.arguments))
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError) as error:
            raise ValueError(
                f"The picture cannot be drawn again with these settings ({fault_of(error)}): "
                f"another version of Diffusers may have drawn it."
            ) from error
        finally:
            pipe.scheduler = own
        return picture


def model_of(pipe: Any) -> str:
    """A name for the pipeline's model that means the same on another machine."""
    from companion.zoo import entries

    folder = Path(str(pipe.name_or_path))
    for name, entry in entries().items():
        # A model that shares parts lies in the cache, under its name and a digest of its files.
        if folder == entry.path or re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{16}}", folder.name):
            return name
    cached = snapshot_of(folder)
    return f"{cached.repo_id}@{cached.commit}" if cached else folder.name
