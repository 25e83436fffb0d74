import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hsimap.bundle import BundleFields
from hsimap.bundle._card import model_card
from hsimap.bundle._manifest import complete, manifest_text, parse_manifest
from hsimap.errors import BundleError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


Fields = Callable[..., dict[str, Any]]
COVER = {"task": "cover", "kind": "categorical", "channels": 2, "role": "probability"}
HEIGHT = {"task": "height", "kind": "continuous", "channels": 1, "stride": 2}


def text_of(fields: dict[str, Any]) -> bytes:
    return manifest_text(complete(BundleFields.model_validate(fields), {}))


@given(metrics=st.dictionaries(st.text(), JSON, max_size=4))
def test_any_metrics_survive_the_text_and_numbers_that_are_not_finite_become_null(
    fields: Fields,
    metrics: dict[str, Any],
) -> None:
    text = text_of(fields(metrics=metrics))
    assert manifest_text(parse_manifest(text, where="m")) == text
    json.loads(text, parse_constant=pytest.fail)


def test_the_digest_follows_every_field_and_nothing_else(fields: Fields) -> None:
    assert text_of(fields()) == text_of(fields())
    digests = {parse_manifest(text_of(fields(reach=reach)), where="m").digest for reach in range(5)}
    assert len(digests) == 5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"reach": 9', b'"reach": 8'),
        (b'"reach": 9', b'"reach":  9'),
        (b'"reach": 9', b'"reach": 9.0'),
        (b'"reach": 9', b'"reach": 9, "reach": 9'),
        (b'"reach": 9', b'"reach": NaN'),
        (b'"reach": 9', b'"reach": 9, "stray": 1'),
        (b"hsimap-bundle/1", b"hsimap-bundle/2"),
        (b"}\n", b"}"),
        (b"}\n", b"}\n\n"),
        (b"town", b"to\xffn"),
    ],
)
def test_an_edited_text_is_refused(fields: Fields, old: bytes, new: bytes) -> None:
    text = text_of(fields())
    assert old in text
    with pytest.raises(BundleError, match=r"^m[: ]"):
        parse_manifest(new.join(text.rsplit(old, 1)), where="m")


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{}", b"[" * 200_000, b"\x80\x04pickle"])
def test_anything_but_a_manifest_is_refused_in_one_line(text: bytes) -> None:
    with pytest.raises(BundleError) as caught:
        parse_manifest(text, where="m")
    assert "\n" not in str(caught.value)


STRAY = {"task": "stray", "kind": "continuous", "channels": 1}
STD = {"task": "height", "kind": "continuous", "channels": 1, "role": "std"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outputs": [{**COVER, "channels": 3}, HEIGHT]}, "3 channels for 2 classes"),
        ({"outputs": [COVER, {**HEIGHT, "channels": 2}]}, "2 channels for one channel"),
        ({"outputs": [COVER, HEIGHT, STRAY]}, "unknown task 'stray'"),
        ({"outputs": [COVER, HEIGHT, COVER]}, "output names must differ"),
        ({"outputs": [COVER]}, "task 'height' has no output"),
        ({"outputs": [COVER, STD]}, "task 'height' has no output"),
        (
            {"outputs": [{**COVER, "kind": "continuous"}, HEIGHT]},
            "its task is categorical",
        ),
        ({"outputs": [{**COVER, "role": "value"}, HEIGHT]}, "role probability, got value"),
        ({"outputs": [COVER, {**HEIGHT, "stride": 3}]}, "no multiple of stride 3"),
        ({"tasks": [{"name": "height", "kind": "continuous"}] * 2}, "task names must differ"),
        ({"patch": 0}, "patch"),
        ({"tile": {"trim": 3, "ramp": 4, "max_tile": 256}}, "tile.trim 3"),
        ({"tile": {"trim": 4, "ramp": 3, "max_tile": 256}}, "tile.ramp 3"),
        ({"tile": {"trim": 4, "ramp": 4, "max_tile": 255}}, "tile.max_tile 255"),
        ({"input": {"n_bands": 3, "wavelength_nm": [1, 2]}}, "2 numbers for 3 bands"),
        ({"input": {"n_bands": 2, "wavelength_nm": [1, float("nan")]}}, "finite"),
        ({"input": {"n_bands": 2, "wavelength_nm": [0, 2]}}, "above 0 nm"),
        ({"input": {"n_bands": 2, "fwhm_nm": [1, 2]}}, "needs wavelength_nm"),
        ({"input": {"n_bands": 2, "scale": 0}}, "greater than 0"),
        ({"name": "a/b"}, "name"),
        ({"stray": 1}, "stray"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(
    fields: Fields, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        BundleFields.model_validate(fields(**changes))


def test_a_task_may_have_an_uncertainty_output(fields: Fields) -> None:
    record = BundleFields.model_validate(fields(outputs=[COVER, HEIGHT, STD]))
    assert [output.name for output in record.outputs] == ["cover", "height", "height_std"]
    assert record.input.bands.n == 3


CALIBRATION: dict[str, Any] = {
    "unit": "stand",
    "intervals": {
        "height": {
            "edges": [10.0],
            "half_widths": {"80": [1.0, 2.5], "90": [2.0, 4.0]},
            "units": [60.5, 61.5],
        }
    },
    "temperature": {"cover": 1.25},
    "sharpness": {
        "cover": {
            "units": 122, "nll_before": 0.5, "nll_after": 0.4, "ece_before": 0.1,
            "ece_after": 0.02,
        }
    },
}  # fmt: skip


def test_a_calibration_is_part_of_the_digest_and_its_absence_leaves_no_trace(
    fields: Fields,
) -> None:
    without, with_it = text_of(fields()), text_of(fields(calibration=CALIBRATION))
    assert b"calibration" not in without
    read = parse_manifest(with_it, where="m")
    assert read.calibration is not None
    assert read.calibration.intervals["height"].levels == (80, 90)
    assert manifest_text(read) == with_it
    assert read.digest != parse_manifest(without, where="m").digest


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"intervals": {"cover": CALIBRATION["intervals"]["height"]}}, "no continuous task"),
        ({"temperature": {"height": 1.0}}, "no categorical task"),
        ({"temperature": {"cover": 0.0}}, "above 0"),
        ({"intervals": {"height": {"half_widths": {"90": [1, 2]}, "units": [9]}}}, "needs 1 half"),
        ({"intervals": {"height": {"half_widths": {"90": [-1]}, "units": [9]}}}, "0 or more"),
        ({"intervals": {"height": {"half_widths": {"100": [1]}, "units": [9]}}}, "percentage"),
    ],
)
def test_a_calibration_that_does_not_fit_the_tasks_is_refused(
    fields: Fields, change: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValidationError, match=fault):
        BundleFields.model_validate(fields(calibration=CALIBRATION | change))


def with_spread(fields: Fields, **changes: Any) -> dict[str, Any]:
    stated = fields()
    spread = {"components": [[1.0, 2.0, 3.0]], "noise": [0.5, 0.5, 0.0]}
    stated["input"] |= {"mean_spectrum": [10, 20, 30], "spread": spread} | changes
    return stated


def test_a_spread_survives_the_text_and_is_left_out_where_there_is_none(fields: Fields) -> None:
    text = text_of(with_spread(fields))
    found = parse_manifest(text, where="m").input.training_spread
    assert found is not None
    assert found.mean.tolist() == [10, 20, 30]
    assert found.covariance[0].tolist() == [1.25, 2, 3]
    assert manifest_text(parse_manifest(text, where="m")) == text
    assert b"spread" not in text_of(fields())
    none = {"components": [], "noise": [1, 1, 1]}
    bare = parse_manifest(text_of(with_spread(fields, spread=none)), where="m").input
    assert bare.training_spread is not None
    assert bare.training_spread.covariance.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean_spectrum": None}, "needs the mean_spectrum"),
        ({"spread": {"components": [[1, 2]], "noise": [1, 1, 1]}}, "2 numbers for 3 bands"),
        ({"spread": {"components": [], "noise": [1, 1]}}, "2 numbers for 3 bands"),
        ({"spread": {"components": [], "noise": [1, -1, 1]}}, "must not be below 0"),
        ({"spread": {"components": [[1, 2, float("inf")]], "noise": [1, 1, 1]}}, "finite"),
    ],
)
def test_a_spread_that_does_not_fit_is_refused(
    fields: Fields, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        text_of(with_spread(fields, **changes))


def test_the_card_names_the_bands_that_a_scene_may_lack(fields: Fields) -> None:
    card = model_card(BundleFields.model_validate(with_spread(fields, dispensable=[0, 1])))
    assert "| bands that a scene may lack | 450 to 550.25 nm (2 of 3) |" in card
    assert "| broader or coarser bands | estimated with 1 components" in card
    assert "may lack" not in model_card(BundleFields.model_validate(fields()))
