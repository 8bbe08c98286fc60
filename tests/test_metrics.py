"""The measures, on samples whose measure is known."""

import pytest
import torch

from companion.metrics import kid, nearest


def test_kid_of_one_distribution_is_near_zero_and_grows_with_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 500, 8, generator=generator)
    assert abs(kid(first, second)) < 0.05
    assert kid(first, second + 1) > 1


def test_the_nearest_picture_is_found() -> None:
    shelf = torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    distances, found = nearest(shelf[7:8] + 0.01, shelf, 2)
    assert found[0, 0] == 7
    assert distances[0, 0] == pytest.approx(0.01, abs=1e-3)
