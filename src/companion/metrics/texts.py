"""How well a picture fits a text."""

import torch.nn.functional as F
from torch import Tensor


def clip_score(pictures: Tensor, texts: Tensor, weight: float = 2.5) -> Tensor:
    """CLIP score of each picture with its text: weight · max(cos, 0) of their embeddings.

    Hessel et al. 2021, "CLIPScore: A Reference-free Evaluation Metric for Image Captioning",
    section 3, whose weight is 2.5. Others, such as torchmetrics, take 100. What it says depends on
    the model that the embeddings come from.

    "And how good is it?", "A CLIP of your own".

    Args:
        pictures: (batch, features), the pictures' embeddings.
        texts: (batch, features), the texts'.
        weight: what the cosine is multiplied by.

    Returns:
        (batch,), 0..weight.

    Raises:
        ValueError: the shapes are others.
    """
    if pictures.ndim != 2 or pictures.shape != texts.shape:
        raise ValueError(
            f"The embeddings have the shapes {tuple(pictures.shape)} and {tuple(texts.shape)}, but "
            "both are (batch, features): a text for each picture."
        )
    return weight * F.cosine_similarity(pictures, texts, dim=-1).clamp(min=0)
