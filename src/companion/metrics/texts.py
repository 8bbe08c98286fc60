"""How well a picture fits a text."""

import torch.nn.functional as F
from torch import Tensor

from companion.door.numbers import number, shown


def clip_score(pictures: Tensor, texts: Tensor, weight: float = 2.5) -> Tensor:
    """CLIP score of each picture with its text: weight · max(cos, 0) of their embeddings.

    Hessel et al. 2021, "CLIPScore: A Reference-free Evaluation Metric for Image Captioning",
    section 3, whose weight is 2.5. Others, such as torchmetrics, take 100. What it says depends on
    the model that the embeddings come from.

    "And how good is it?", "A CLIP of your own".

    Args:
        pictures: (batch, features), the pictures' embeddings.
        texts: (batch, features), the texts'.
        weight: what the cosine is multiplied by, 0 or more.

    Returns:
        (batch,), 0..weight.

    Raises:
        ValueError: the embeddings are no tensors of finite fractions, or their shapes are others;
            or the weight is below 0.
    """
    for embeddings in (pictures, texts):
        if not isinstance(embeddings, Tensor):
            raise ValueError(f"Embeddings are a tensor, but {shown(embeddings)} was given.")
        if not embeddings.is_floating_point():
            raise ValueError(f"Embeddings are fractions, but {embeddings.dtype} was given.")
    if pictures.ndim != 2 or pictures.shape != texts.shape or not pictures.shape[1]:
        raise ValueError(
            f"The embeddings have the shapes {tuple(pictures.shape)} and {tuple(texts.shape)}, but "
            "both are (batch, features): a text for each picture."
        )
    if (weight := number("The weight", weight)) < 0:
        raise ValueError(f"The weight is {weight}, but it is 0 or more: 2.5 is the paper's.")
    cosines = F.cosine_similarity(pictures, texts, dim=-1)
    if cosines.isnan().any():  # as it is where an embedding has NaN or infinity
        raise ValueError(
            "An embedding holds what is no finite number: look at the picture or text that it "
            "comes from."
        )
    return weight * cosines.clamp(min=0)
