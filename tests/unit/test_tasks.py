import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsimap.errors import InputError, UsageError
from hsimap.tasks import (
    CLASS_NODATA,
    Kind,
    Output,
    Role,
    Task,
    decode_classes,
    encode_classes,
    main_output,
    task_from_mapping,
)

CODES = st.lists(st.integers(0, 254), min_size=1, max_size=12, unique=True)


def categorical(codes: list[int]) -> Task:
    return task_from_mapping(
        "cover", {"kind": "categorical", "classes": {code: f"c{code}" for code in codes}}
    )


@given(codes=CODES)
def test_task_from_mapping_keeps_the_order_of_the_channels(codes: list[int]) -> None:
    task = categorical(codes)
    assert task.codes.tolist() == codes
    assert task.channels == main_output(task).channels == len(codes)
    assert Task.model_validate_json(task.model_dump_json()) == task


@given(codes=CODES, data=st.data())
def test_encode_then_decode_gives_the_codes_back(codes: list[int], data: st.DataObject) -> None:
    task = categorical(codes)
    labels = np.array(data.draw(st.lists(st.sampled_from(codes), min_size=1, max_size=30)))[None]
    index = encode_classes(task, labels, unlabelled=())
    one_hot = np.moveaxis(np.eye(len(codes), dtype=np.float32)[index], -1, 0)
    assert decode_classes(task, one_hot).tolist() == labels.tolist()


def test_unlabelled_and_nan_pixels_have_no_channel() -> None:
    task = categorical([1, 4])
    assert encode_classes(task, np.array([1.0, np.nan, 0.0, 4.0])).tolist() == [0, -1, -1, 1]
    assert encode_classes(categorical([0, 1]), np.array([0, 1])).tolist() == [0, 1]


def test_an_undeclared_code_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"\[7\].*'cover'|'cover'.*\[7\]"):
        encode_classes(categorical([1, 4]), np.array([1, 7]))


@given(
    codes=CODES,
    steps=st.integers(1, 3),  # few values: many are equal
    odd=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 99),
)
def test_the_class_is_what_numpys_argmax_says(
    codes: list[int], steps: int, odd: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shares = rng.integers(-steps, steps, (len(codes), 6, 7)).astype(np.float32)
    shares[rng.random(shares.shape) < odd / len(codes)] = np.nan
    shares[rng.random(shares.shape) < odd / len(codes)] = np.inf
    expected = np.array(codes)[shares.argmax(axis=0)]
    expected[~np.isfinite(shares).all(axis=0)] = CLASS_NODATA
    assert decode_classes(categorical(codes), shares).tolist() == expected.tolist()


def test_a_pixel_with_any_nan_is_nodata() -> None:
    probabilities = np.array([[[0.9, 0.2]], [[0.1, np.nan]]], dtype=np.float32)
    assert decode_classes(categorical([3, 5]), probabilities).tolist() == [[3, CLASS_NODATA]]


def test_colours_are_taken_from_the_mapping_else_from_the_palette() -> None:
    task = task_from_mapping(
        "cover",
        {"kind": "categorical", "classes": {1: "a", 2: "b"}, "colors": {2: "#B2182b"}},
    )
    assert task.classes[1].color == "#B2182b"
    assert task.classes[0].color.startswith("#")
    assert task.classes[0].color != task.classes[1].color


def test_continuous_task() -> None:
    task = task_from_mapping(
        "height", {"kind": "continuous", "unit": "m", "range": [0, 40], "title": "Tree height"}
    )
    assert (task.kind, task.range, task.label) == (Kind.CONTINUOUS, (0.0, 40.0), "Tree height")
    assert main_output(task).role is Role.VALUE


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ([1], ("cover", "mapping")),
        ({}, ("cover", "kind")),
        ({"kind": "categoric"}, ("cover", "kind", "categoric")),
        ({"kind": "categorical"}, ("cover", "classes")),
        ({"kind": "continuous", "classes": {1: "a"}}, ("cover", "classes")),
        ({"kind": "categorical", "clases": {1: "a"}}, ("clases", "'classes'")),
        ({"kind": "continuous", "zzz": 1}, ("zzz", "known")),
        ({"kind": "categorical", "classes": ["a"]}, ("classes", "code")),
        ({"kind": "categorical", "classes": {"a": "b"}}, ("classes", "'a'")),
        ({"kind": "categorical", "classes": {True: "b"}}, ("classes", "True")),
        ({"kind": "categorical", "classes": {255: "b"}}, ("classes", "255")),
        ({"kind": "categorical", "classes": {1: 5}}, ("classes.0.name", "5")),
        ({"kind": "categorical", "classes": {1: "b"}, "colors": {2: "#000000"}}, ("colors", "2")),
        ({"kind": "categorical", "classes": {1: "b"}, "colors": {1: "red"}}, ("color", "red")),
        ({"kind": "continuous", "range": [3, 1]}, ("cover", "range")),
        ({"kind": "continuous", "range": [3]}, ("cover", "range")),
    ],
)
def test_a_bad_mapping_is_a_usage_error_that_names_task_and_field(
    mapping: object, words: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError) as caught:
        task_from_mapping("cover", mapping)
    text = str(caught.value)
    assert "\n" not in text
    assert "cover" in text
    for word in words:
        assert word in text


@pytest.mark.parametrize("name", ["qa", "a_probability", "x_std", "Cover", "1a", ""])
def test_reserved_and_malformed_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="task name"):
        task_from_mapping(name, {"kind": "continuous"})


def test_output_names() -> None:
    common = {"task": "height", "kind": Kind.CONTINUOUS, "channels": 1}
    assert Output(**common).name == "height"
    assert Output(**common, role=Role.STD).name == "height_std"
