"""What a user of the package may write: `mypy --strict` reads it in tests/test_typing.py.

Nobody runs it. `assert_type` fails where a type is another one, or Any.
"""

from collections.abc import Generator
from pathlib import Path
from typing import Any, assert_type

from PIL import Image
from torch import Tensor, dtype
from torch.utils.data import DataLoader

from companion import Profile, attention, autopipeline, doctor, hub, profile, scenes, training, zoo
from companion.attention import GlobalHeatMap, HeatMaps, WordHeatMap, trace
from companion.denoise import Sampler, Step, ddim, ddpm, unipc
from companion.doctor import Finding, Verdict
from companion.door import Untrusted, printable
from companion.figures import Diagram
from companion.hub import Endpoint, HubError, Route
from companion.local_hub import LocalHub
from companion.metrics import psnr
from companion.scenes import Scene
from companion.sources import ModelSource, sources
from companion.training import PictureDataset, TrainingConfig, TrainingRun
from companion.zoo import Entry, Seen

p = profile("small")
assert_type(p, Profile)
assert_type(p.denoiser, str)
assert_type(p.dtype, dtype)
assert_type(sources("full"), dict[str, ModelSource])

# The rooms of light parts.
assert_type(scenes.scene(3), Scene)
assert_type(scenes.caption(["cat"], background="blue"), str)
assert_type(scenes.export_imagefolder("pets", range(8), subset="pets"), Path)
assert_type(zoo.folder("ddpm"), Path)
assert_type(zoo.entries(), dict[str, Entry])
assert_type(printable("text"), str)

# Chapter 1 and "Behind the firewall".
try:
    assert_type(hub.fetch(2, "full", where="auto"), dict[str, Path])
except HubError as error:
    assert_type(error.args, tuple[Any, ...])
assert_type(hub.find_endpoint(), Endpoint)
assert_type(hub.probe("official"), Route)
with LocalHub("models") as local:
    assert_type(local.address, str)
assert_type(doctor.examine("Python"), Generator[Finding])
assert_type(doctor.write(doctor.examine()), Verdict)


# Chapter 2.
def draw_digits(model: Any, noise: Tensor, scheduler: Any) -> Tensor:
    def note(step: Step) -> None:
        assert_type(step.predicted_x0, Tensor)

    samplers: list[Sampler] = [ddpm, ddim, unipc]
    assert_type(samplers[0](model, noise, scheduler=scheduler), Tensor)
    return ddim(model, noise, scheduler=scheduler, num_steps=20, callback=note)


# Chapter 4.
pipe = autopipeline.load("text-to-image", p)
assert_type(autopipeline.optimise(pipe), autopipeline.Report)
pictures = autopipeline.draw(pipe, "a cat", seeds=[1, 2])
assert_type(pictures, list[Image.Image])
assert_type(autopipeline.load_settings("cat.png"), autopipeline.Settings)
assert_type(zoo.recognise(pictures), list[Seen])
assert_type(psnr(pictures[0], pictures[1]), float)

# Chapter 5.
config = TrainingConfig(dataset_name="scenes:flowers", image_size=32)
assert_type(training.train(config), TrainingRun)
assert_type(training.make_dataloader(config), DataLoader[Any])
assert_type(training.load_config("settings.toml", num_epochs=3), TrainingConfig)
assert_type(training.draw_unet(config.model), Diagram)


def loader(pixels: Tensor) -> DataLoader[dict[str, Tensor]]:
    return training.picture_loader(PictureDataset(pixels), 16)


# Chapter 6.
with trace(pipe) as maps:
    pipe("a cat on a blue background")
assert_type(maps, HeatMaps)
assert_type(attention.load("maps.safetensors"), HeatMaps)
heat_map = maps.compute_global_heat_map()
assert_type(heat_map, GlobalHeatMap)
assert_type(heat_map.compute_word_heat_map("cat"), WordHeatMap)

# Chapter 7.
with trace(pipe, by=(), direction="picture to picture") as within:
    pipe("a cat on a blue background")
assert_type(within.compute_place_heat_map((3, 4)), WordHeatMap)

try:
    zoo.verify("ddpm")
except Untrusted as untrusted:
    print(untrusted)
