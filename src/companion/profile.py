"""What the chapters load and how they are set: `small`, offline on the CPU, or `full`, on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from .sources import VARIABLE, ModelSource, profile_table, sources

if TYPE_CHECKING:
    import torch


class Table(dict[str, Any]):
    """Settings by name; a name that is not there is one sentence."""

    def __missing__(self, name: object) -> NoReturn:
        from difflib import get_close_matches

        near = get_close_matches(str(name), self, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(self)}."
        raise KeyError(f"There is no {name!r} among these settings; {hint}")


@dataclass(frozen=True)
class Profile:
    """What a chapter needs to know of the machine, the models and its settings.

    A model's folder, for `from_pretrained`, is also the attribute of the model's name: `p.denoiser`
    is `p.folder("denoiser")`.

    Attributes:
        name: "small" or "full".
        device: "cuda", "mps" or "cpu".
        dtype: precision of the weights on that device.
        models: where each model comes from, by the name a chapter calls it.
        settings: what a chapter sets, a table of names and values, by the table's name in
            profiles.toml: `p.settings["text_to_image"]["prompt"]`.
    """

    name: str
    device: str
    dtype: torch.dtype
    models: Mapping[str, ModelSource]
    settings: Mapping[str, Mapping[str, Any]]
    _folders: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def folder(self, name: str) -> str:
        """The folder of a model, for `from_pretrained`; a hub model is fetched the first time.

        Raises:
            ValueError: the profile has no such model.
            FileNotFoundError: the model is not here and cannot be fetched; the sentence says what
                to do.
        """
        if name not in self.models:
            known = ", ".join(self.models)
            raise ValueError(f"The profile {self.name} has no model {name!r}; it has: {known}.")
        if name not in self._folders:
            self._folders[name] = source_folder(self.models[name])
        return self._folders[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.models]

    def __getattr__(self, name: str) -> str:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self.folder(name)
        except ValueError as error:
            raise AttributeError(str(error)) from None


def profile(name: str | None = None) -> Profile:
    """The profile of that name, or of the environment variable COMPANION_PROFILE, or `small`.

    From here on the libraries send the reader's token to no host but the official one, unless told
    to: see `companion.hub.tokens.keep_token_home`. And in the small profile a GPU computes
    convolutions in full float32, so that it gives the pictures that a CPU gives.

    Raises:
        ValueError: there is no such profile.
        RuntimeError: `full` was asked for on a machine without a GPU.
    """
    from .hub.tokens import keep_token_home

    keep_token_home()
    name, table = profile_table(name)
    device = best_device()
    if name == "full" and device == "cpu":
        raise RuntimeError(
            "The full profile needs a GPU and none was found; choose a GPU runtime, check that "
            f"torch.cuda.is_available() is True, or set {VARIABLE}=small."
        )
    import torch

    if name == "small" and device == "cuda":
        # A GPU's convolutions otherwise round to ten bits, and a picture is not the CPU's any more.
        torch.backends.cudnn.allow_tf32 = False
    return Profile(
        name=name,
        device=device,
        dtype=getattr(torch, table["precision"]),
        models={key: s for key, s in sources(name).items() if s.repo_type == "model"},
        settings=Table({key: Table(values) for key, values in table["settings"].items()}),
    )


def source_folder(source: ModelSource) -> str:
    """The folder of a model or dataset; one of the hub is fetched if it is not there.

    Raises:
        FileNotFoundError: it is not here and cannot be fetched; the sentence says what to do.
    """
    if source.zoo:
        from .zoo import folder

        return str(folder(source.zoo))
    from .hub import HubError
    from .hub.fetch import fetch_source

    try:
        return str(fetch_source(source))
    except HubError as error:
        raise FileNotFoundError(
            f"The {source.repo_type} {source.hub} is not on this machine and could not be fetched: "
            f"{error} Or use the embedded models with {VARIABLE}=small."
        ) from error


def best_device() -> str:
    """The best device of this machine: "cuda", "mps" or "cpu"."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"
