"""What was measured of chapter 6's maps, and the guess that does not look."""

from companion.attention.agreement import centre_square, measured, measured_joint


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


def test_the_stored_table_of_joint_attention_is_of_the_same_scenes_in_every_direction() -> None:
    joint, unet = measured_joint()["groups"], measured()["groups"]
    starts = (
        "text to picture: all",
        "picture to text: all",
        "picture to picture, from the peak: all",
    )
    for group, methods in joint.items():
        if group == "taken away":
            continue
        counts = {methods[start]["objects"] for start in starts}
        assert len(counts) == 1
        if group.startswith("real"):
            assert counts == {unet[group]["all"]["objects"]}
        for start in starts:
            edges = (methods[start][key] for key in ("low", "mean", "high"))
            for low, mean, high in zip(*edges, strict=True):
                assert 0 <= low <= mean <= high <= 1


def test_the_stored_maps_of_joint_attention_beat_a_guess() -> None:
    table = measured_joint()
    at = table["thresholds"].index(0.4)
    for group, methods in table["groups"].items():
        if group != "taken away":
            found, guess = methods["text to picture: all"], methods["centre square, side 40"]
            assert found["low"][at] > guess["high"][at]
