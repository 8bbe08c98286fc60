"""companion.metrics and torchmetrics give the same numbers of the same pictures."""

from typing import Any

import pytest
import torch

from companion.metrics import clip_score, fid, iou, kid, percent

# It brings Inception and CLIP with more packages; here it gets features, and needs none of them.
torchmetrics = pytest.importorskip("torchmetrics")


class Pixels(torch.nn.Module):
    """Features that are simply the pictures' numbers."""

    num_features = 12

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).double()


@pytest.fixture
def samples() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 60, 3, 2, 2, generator=generator)
    return first, second**2


def test_fid_is_that_of_torchmetrics(samples: tuple[torch.Tensor, torch.Tensor]) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    theirs = FrechetInceptionDistance(feature=Pixels(), normalize=True)
    for images, real in zip(samples, (True, False), strict=True):
        theirs.update(images, real=real)
    ours = fid(*(images.flatten(1) for images in samples))
    assert ours == pytest.approx(theirs.compute().item(), rel=1e-4)


def test_kid_is_that_of_torchmetrics(samples: tuple[torch.Tensor, torch.Tensor]) -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    # One subset that holds all pictures: otherwise it averages over drawn ones.
    theirs = KernelInceptionDistance(feature=Pixels(), subsets=1, subset_size=60, normalize=True)
    for images, real in zip(samples, (True, False), strict=True):
        theirs.update(images, real=real)
    ours = kid(*(images.flatten(1) for images in samples))
    assert ours == pytest.approx(theirs.compute()[0].item(), rel=1e-4)


class Embeddings:
    """Stands for a CLIP and its processor: pictures and texts are embeddings already."""

    config = None

    def to(self, device: torch.device) -> "Embeddings":
        return self

    def __call__(self, images: list[torch.Tensor] | None = None, **given: Any) -> dict[str, Any]:
        if images is not None:
            return {"pixel_values": torch.stack(images)}
        numbers = torch.tensor([[float(n) for n in text.split()] for text in given["text"]])
        return {"input_ids": numbers, "attention_mask": numbers}

    def get_image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1).float()

    def get_text_features(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return ids


def test_clip_score_is_that_of_torchmetrics_at_its_weight() -> None:
    from torchmetrics.functional.multimodal import clip_score as of_torchmetrics

    pictures = torch.rand(10, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    texts = pictures.flatten(1).flip(1)
    said = [" ".join(map(str, row)) for row in texts.tolist()]
    stand_in = Embeddings()
    theirs = of_torchmetrics(pictures, said, lambda: (stand_in, stand_in))
    ours = clip_score(pictures.flatten(1), texts, weight=100).mean()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_the_mean_of_ious_is_that_of_torchmetrics() -> None:
    from torchmetrics.segmentation import MeanIoU

    found, truth = torch.rand(2, 6, 9, 9, generator=torch.Generator().manual_seed(0)) > 0.4
    theirs = MeanIoU(num_classes=2, per_class=True, input_format="index")
    theirs.update(found.long(), truth.long())
    ours = iou(torch.stack([~found, found]), torch.stack([~truth, truth])).mean(1)
    assert ours.tolist() == pytest.approx(theirs.compute().tolist(), rel=1e-5)


def test_accuracy_is_that_of_torchmetrics() -> None:
    from torchmetrics.functional.classification import binary_accuracy

    said, truth = torch.rand(2, 50, generator=torch.Generator().manual_seed(0)) > 0.5
    theirs = 100 * binary_accuracy(said.int(), truth.int()).item()
    assert percent((said == truth).tolist()) == pytest.approx(theirs)
