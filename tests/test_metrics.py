"""How alike pictures, masks and samples are, and how sure a mean of them is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest

from companion.metrics import (
    bootstrap,
    clip_score,
    fid,
    iou,
    kid,
    kid_with_error,
    nearest,
    peak_signal_noise_ratio,
    percent,
    psnr,
    wilson,
)
from companion.scenes import scene

GREY = Image.new("RGB", (64, 64), "grey")
INF = float("inf")


def _noise(seed: int) -> torch.Tensor:
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# Pictures


def test_psnr_is_ten_times_the_logarithm_of_the_ratio() -> None:
    assert psnr(GREY, GREY) == float("inf")
    black, white = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), "white")
    assert psnr(black, white) == 0
    with pytest.raises(ValueError, match="64x64 and 4x4 cannot be compared"):
        psnr(GREY, black)


def test_pictures_are_compared_as_they_look() -> None:
    picture = scene(7).image
    assert psnr(picture, picture.convert("RGBA")) == INF
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # as a camera that was held sideways saves it
    assert psnr(turned, picture) == INF


def test_pictures_of_any_range_have_the_psnr_of_their_pil_pictures() -> None:
    first, second = (
        torch.randint(256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(seed))
        for seed in (0, 1)
    )
    of_pil = [
        psnr(*(Image.fromarray(side.permute(1, 2, 0).numpy().astype(np.uint8)) for side in pair))
        for pair in zip(first, second, strict=True)
    ]
    wide = peak_signal_noise_ratio(first / 127.5 - 1, second / 127.5 - 1)
    unit = peak_signal_noise_ratio(first / 255, second / 255, data_range=1)
    assert wide.tolist() == pytest.approx(of_pil, abs=1e-4)
    assert unit.tolist() == pytest.approx(of_pil, abs=1e-4)


def test_the_nearest_picture_is_found() -> None:
    shelf = torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    distances, found = nearest(shelf[7:8] + 0.01, shelf, 2)
    assert found[0, 0] == 7
    assert distances[0, 0] == pytest.approx(0.01, abs=1e-3)


def test_the_nearest_is_found_in_half_precision_too() -> None:
    shelf = _noise(0)
    distances, found = nearest(shelf.half(), shelf.double())
    assert found[:, 0].tolist() == [0, 1, 2]
    assert distances.max() < 1e-3


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (np.zeros((1, 3, 8, 8)), _noise(0), "Pictures are a tensor, but array"),
        (_noise(0), None, "Pictures are a tensor, but None"),
        (_noise(0).byte(), _noise(0).byte(), "fractions, but torch.uint8"),
        (_noise(0), _noise(0) * 1j, "fractions, but torch.complex64"),
        (_noise(0), _noise(0)[..., :4], r"\(3, 3, 8, 8\) and \(3, 3, 8, 4\)"),
        (_noise(0), _noise(0)[:, :1], r"\(3, 3, 8, 8\) and \(3, 1, 8, 8\)"),
        (_noise(0)[0], _noise(0)[0], r"\(3, 8, 8\) and \(3, 8, 8\)"),
        (torch.ones(2, 3, 0, 0), torch.ones(2, 3, 0, 0), "cannot be compared"),
    ],
)
@pytest.mark.parametrize("measure", [peak_signal_noise_ratio, nearest])
def test_pictures_that_cannot_be_compared_are_refused(
    measure: Callable[[Any, Any], Any], first: Any, second: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        measure(first, second)


def test_psnr_is_of_as_many_pictures_and_of_a_range() -> None:
    with pytest.raises(ValueError, match="there are 3 and 1"):
        peak_signal_noise_ratio(_noise(0), _noise(0)[:1])
    no_ranges: list[Any] = [0, -1.0, INF, "2"]
    for wrong in no_ranges:
        with pytest.raises(ValueError, match="The range of the pictures is"):
            peak_signal_noise_ratio(_noise(0), _noise(1), wrong)


@pytest.mark.parametrize(
    ("size", "count", "said"),
    [
        (0, 1, "has 0 pictures, so 1 neighbours"),
        (3, 4, "has 3 pictures, so 4 neighbours"),
        (3, 0, "has 3 pictures, so 0 neighbours"),
        (3, 1.5, "is 1.5, but it is a whole number"),
    ],
)
def test_no_more_neighbours_are_found_than_there_are(size: int, count: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        nearest(_noise(0), _noise(1)[:size], count)


# Masks


def test_iou_is_intersection_over_union_at_each_threshold() -> None:
    heat = np.array([[0.1, 0.5], [0.9, 0.3]])
    mask = np.array([[False, True], [True, False]])
    thresholds = np.array([0.0, 0.2, 0.4, 0.6, 0.95])[:, None, None]
    assert iou(heat > thresholds, mask).tolist() == [1 / 2, 2 / 3, 1, 1 / 2, 0]


def test_iou_of_nothing_with_nothing_is_zero() -> None:
    nothing = np.zeros((1, 2, 2), bool)
    assert iou(nothing, nothing) == 0


def test_iou_of_tensors_is_that_of_arrays() -> None:
    first, second = _noise(0) > 0, _noise(1) > 0
    found = iou(first, second)
    assert found.shape == (3, 3)
    assert found.tolist() == pytest.approx(iou(first.numpy(), second.numpy()))


MASK = np.ones((2, 4, 4), bool)


def test_iou_of_several_masks_with_one() -> None:
    assert iou(MASK, MASK[0]).tolist() == [1, 1]
    assert iou(torch.from_numpy(MASK[0]), torch.from_numpy(MASK)).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (MASK * 1.0, MASK, "bool, but one of float64 .* threshold"),
        (torch.ones(4, 4), torch.ones(4, 4), "bool, but one of torch.float32"),
        (MASK.astype(np.uint8), MASK, "bool, but one of uint8"),
        (MASK.tolist(), MASK, "an array or a tensor, but "),
        (MASK, None, "an array or a tensor, but None"),
        (MASK, torch.from_numpy(MASK), "One mask is an array and one a tensor"),
        (MASK, MASK[:, :1], r"\(2, 4, 4\) and \(2, 1, 4\)"),
        (MASK, MASK[:, :3], r"\(2, 4, 4\) and \(2, 3, 4\)"),
        (MASK, MASK[[0, 0, 0]], r"\(2, 4, 4\) and \(3, 4, 4\)"),
        (MASK[0, 0], MASK[0, 0], r"\(4,\) and \(4,\)"),
    ],
)
def test_what_are_no_two_masks_is_refused(first: Any, second: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        iou(first, second)


# Samples


def test_kid_of_one_distribution_is_near_zero_and_grows_with_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 500, 8, generator=generator)
    assert abs(kid(first, second)) < 0.05
    assert kid(first, second + 1) > 1


def test_fid_of_normal_clouds_is_the_distance_that_can_be_worked_out() -> None:
    cloud = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    assert fid(cloud, cloud) == pytest.approx(0, abs=1e-9)
    assert fid(cloud, cloud + 2) == pytest.approx(6 * 2**2)  # only the means differ
    # Covariances S and 9 S: Tr(S + 9 S - 2 (9 S²)^½) = 4 Tr S.
    centred = cloud - cloud.mean(0)
    assert fid(centred, 3 * centred) == pytest.approx(4 * cloud.T.cov().trace().item(), rel=1e-5)


def test_fid_falls_with_more_pictures_of_one_kind_and_kid_does_not() -> None:
    cloud = torch.randn(4000, 20, generator=torch.Generator().manual_seed(0))
    few, many = [(cloud[:n], cloud[n : 2 * n]) for n in (100, 2000)]
    assert fid(*few) > 10 * fid(*many) > 0
    assert min(abs(kid(*few)), abs(kid(*many))) < 0.1


def test_kids_error_is_that_of_leaving_each_picture_out() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(12, 3, generator=generator), torch.randn(9, 3, generator=generator)
    variance = 0.0
    for x, y in ((first, second), (second, first)):
        kids = [kid(_without(i, x), y) for i in range(len(x))]
        variance += (len(kids) - 1) * float(np.var(kids))
    value, error = kid_with_error(first, second)
    assert value == pytest.approx(kid(first, second))
    assert error == pytest.approx(variance**0.5)


def _without(index: int, samples: torch.Tensor) -> torch.Tensor:
    return torch.cat([samples[:index], samples[index + 1 :]])


@pytest.mark.parametrize("far", [0.0, 0.3])
def test_kids_error_is_about_its_spread_and_not_below(far: float) -> None:
    generator = torch.Generator().manual_seed(0)
    trials = [torch.randn(2, 150, 8, generator=generator) for _ in range(60)]
    found = [kid_with_error(first, second + far) for first, second in trials]
    spread = np.std([value for value, _ in found])
    assert spread < np.mean([error for _, error in found]) < 2 * spread


def test_fid_of_fewer_pictures_than_features_is_a_number() -> None:
    first, second = torch.randn(2, 5, 20, generator=torch.Generator().manual_seed(0))
    assert 0 < fid(first, second) < 100


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (torch.ones(4, 3), torch.ones(4, 2), r"\(4, 3\) and \(4, 2\)"),
        (torch.ones(4), torch.ones(4), r"\(4,\) and \(4,\)"),
        (torch.ones(1, 3), torch.ones(4, 3), "at least [23] of each"),
        (torch.full((4, 3), torch.nan), torch.ones(4, 3), "no finite number"),
        (torch.ones(4, 0), torch.ones(4, 0), "at least one"),
        (np.ones((4, 3)), np.ones((4, 3)), "a tensor, but array"),
        ([[1.0, 2.0]] * 4, torch.ones(4, 2), "a tensor, but .* torch.as_tensor"),
        (torch.ones(4, 3), None, "a tensor, but None"),
        (torch.ones(4, 3) * 1j, torch.ones(4, 3), "real numbers, but torch.complex64"),
        (torch.rand(4, 3).double() * 1e200, torch.ones(4, 3), "above 1e"),
        (torch.ones(4, 3), -torch.rand(4, 3).double() * 1e200, "above 1e"),
    ],
)
@pytest.mark.parametrize("measure", [fid, kid, kid_with_error])
def test_features_that_cannot_be_compared_are_refused(
    measure: Callable[[Any, Any], Any], first: Any, second: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        measure(first, second)


def test_features_up_to_the_largest_give_finite_numbers() -> None:
    first, second = torch.rand(2, 200, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    first, second = first.sign().double() * 1e24, second.sign().double() * 1e24
    assert np.isfinite([fid(first, second), *kid_with_error(first, second)]).all()


# Texts


def test_clip_score_is_the_cosine_stretched_and_cut_off_below() -> None:
    picture = torch.tensor([[3.0, 4.0], [1.0, 0.0], [1.0, 0.0]])
    text = torch.tensor([[6.0, 8.0], [1.0, 1.0], [-1.0, 0.0]])
    assert clip_score(picture, text).tolist() == pytest.approx([2.5, 2.5 / 2**0.5, 0])
    assert clip_score(picture, text, weight=100)[0] == pytest.approx(100)
    with pytest.raises(ValueError, match="a text for each picture"):
        clip_score(picture, text[:1])


ONE = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("pictures", "texts", "weight", "said"),
    [
        (ONE.int(), ONE.int(), 2.5, "fractions, but torch.int32"),
        (ONE * 1j, ONE, 2.5, "fractions, but torch.complex64"),
        (ONE.numpy(), ONE.numpy(), 2.5, "a tensor, but array"),
        (ONE, None, 2.5, "a tensor, but None"),
        (ONE * torch.nan, ONE, 2.5, "no finite number"),
        (ONE, ONE * INF, 2.5, "no finite number"),
        (ONE[:, :0], ONE[:, :0], 2.5, r"\(2, 0\) and \(2, 0\)"),
        (ONE, ONE, -1, "The weight is -1, but it is 0 or more"),
        (ONE, ONE, INF, "The weight is inf"),
        (ONE, ONE, "2.5", "The weight is '2.5'"),
    ],
)
def test_what_has_no_clip_score_is_refused(
    pictures: Any, texts: Any, weight: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        clip_score(pictures, texts, weight)


# Confidence


def _answers(yes: int, total: int) -> list[bool]:
    return [True] * yes + [False] * (total - yes)


def test_wilsons_interval_is_that_of_scipy() -> None:
    for yes, total in ((0, 5), (20, 20), (97, 100), (1, 3)):
        theirs = binomtest(yes, total).proportion_ci(method="wilson")
        ours = wilson(_answers(yes, total))
        assert ours == pytest.approx((yes / total, theirs.low, theirs.high), abs=1e-6)


def test_wilsons_interval_holds_the_truth_in_95_of_100_trials() -> None:
    counts = np.random.default_rng(0).binomial(200, 0.97, 2000)
    every = [wilson(_answers(int(n), 200)) for n in counts]
    assert 93 < percent(one.low <= 0.97 <= one.high for one in every) < 98


@pytest.mark.parametrize(("yes", "n"), [(10, 10), (0, 10), (5, 10), (81, 263)])
def test_wilsons_interval_is_where_the_score_is_just_not_refused(yes: int, n: int) -> None:
    found = wilson(_answers(yes, n))
    assert found.mean == yes / n
    for end, trivial in ((found.low, 0), (found.high, 1)):
        if end != pytest.approx(trivial):  # Wilson 1927: the score test's limits
            assert abs(yes / n - end) / (end * (1 - end) / n) ** 0.5 == pytest.approx(
                1.96, abs=1e-3
            )
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found.high - found.low > 0.1


def test_of_no_answers_there_is_no_share() -> None:
    for share in (wilson, percent):
        with pytest.raises(ValueError, match="Of no answers there is no share"):
            share([])


@pytest.mark.parametrize(
    ("values", "groups", "resamples", "said"),
    [
        ([], [], 10, r"\(0,\) and the groups \(0,\)"),
        ([1.0, 2.0], [1], 10, r"\(2,\) and the groups \(1,\)"),
        ([1.0], [1, 2], 10, r"\(1,\) and the groups \(2,\)"),
        ([[1.0, 2.0]], [[1, 2]], 10, r"both are \(n,\)"),
        ([1.0, np.nan], [1, 2], 10, "A value is no finite number"),
        (["much"], [1], 10, "A value is no finite number"),
        ([1.0, 2.0], [1, 2], 0, "Resamples are 0, but an interval needs 1"),
        ([1.0, 2.0], [1, 2], 2.5, "is 2.5, but it is a whole number"),
    ],
)
def test_what_has_no_interval_is_refused(
    values: Any, groups: Any, resamples: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        bootstrap(values, groups, resamples=resamples)


def test_bootstrap_contains_the_mean_and_narrows_with_more_pictures() -> None:
    values = np.random.default_rng(1).random(400)
    few, many = bootstrap(values[:40], range(40)), bootstrap(values, range(400))
    for interval in (few, many):
        assert interval.low < interval.mean < interval.high
    assert many.high - many.low < (few.high - few.low) / 2


def test_bootstrap_does_not_take_two_objects_of_a_picture_for_two_pictures() -> None:
    values = np.random.default_rng(1).random(100)
    alone = bootstrap(values, range(100))
    twice = bootstrap(np.repeat(values, 2), np.repeat(range(100), 2))
    assert twice == pytest.approx(alone)


def test_percent_is_the_part_of_yes() -> None:
    assert percent([True, False, True, True]) == 75
