"""What was measured of chapter 6's maps, and the guess that does not look."""

from companion.attention.agreement import centre_square, measured


def test_centre_square_lies_in_the_middle() -> None:
    mask = centre_square(8, 4)
    assert mask.sum() == 16
    assert mask[2:6, 2:6].all()


def test_the_stored_table_is_of_500_pictures_each_and_has_an_interval_at_every_threshold() -> None:
    table = measured()
    pictures = {"real": 0, "drawn": 0}
    for group, methods in table["groups"].items():
        kind, number = group.split(", ")
        objects = methods["all"]["objects"]
        pictures[kind] += objects // 2 if number == "two objects" else objects
        if kind == "drawn":
            pictures[kind] += round(methods["left out"]["mean"][0] * methods["left out"]["objects"])
        for found in (methods["all"], methods["whole picture"]):
            assert len(found["mean"]) == len(table["thresholds"])
            for low, mean, high in zip(found["low"], found["mean"], found["high"], strict=True):
                assert 0 <= low <= mean <= high <= 1
    assert pictures == {"real": 500, "drawn": 500}


def test_the_stored_maps_beat_both_baselines() -> None:
    table = measured()
    at = table["thresholds"].index(0.4)
    for methods in table["groups"].values():
        for guess in ("whole picture", "centre square, side 40"):
            assert methods["all"]["low"][at] > methods[guess]["high"][at]
