"""The trained model as a `DDPMPipeline` folder, replaced file by file, each of them at once."""

import tempfile
from pathlib import Path

from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from .files import explained, to_disk


def save_pipeline(unet: UNet2DModel, noise_scheduler: DDPMScheduler, folder: Path) -> None:
    """Write a folder that `DDPMPipeline.from_pretrained` reads.

    All files but the weights are the same throughout a run, and the weights are one file: so the
    folder is a whole pipeline at every moment, before and after this one.

    Raises:
        OSError: it could not be written; an earlier pipeline is still there.
    """
    kept = "an earlier pipeline and the checkpoints are still there"
    with explained("pipeline", folder, kept):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as beside:
            pipeline = DDPMPipeline(unet=unet, scheduler=noise_scheduler)
            pipeline.save_pretrained(beside, max_shard_size="1TB")
            to_disk(Path(beside))
            files = [path for path in Path(beside).rglob("*") if path.is_file()]
            # model_index.json last: it is what makes a folder a pipeline.
            for file in sorted(files, key=lambda path: path.name == "model_index.json"):
                place = folder / file.relative_to(beside)
                place.parent.mkdir(exist_ok=True)
                file.replace(place)
