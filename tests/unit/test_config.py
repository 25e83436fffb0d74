"""Strict YAML: scalars, bombs, unknown keys, overrides, the commented dump."""

from __future__ import annotations

import json
import math
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from hsimap.config import (
    Settings,
    apply_overrides,
    dump_commented,
    load_yaml,
    parse_yaml,
    validate,
)
from hsimap.errors import UsageError


class Sampling(Settings):
    """A section."""

    patch: int = Field(default=32, ge=8)
    """Side of a patch in pixels."""
    shares: tuple[float, float] | None = Field(default=None, strict=False)
    flips: bool = True


class Source(Settings):
    """An element of a list."""

    image: str
    nodata: float | None = Field(default=None, allow_inf_nan=True)


class Whole(Settings):
    """Sections, a list and mappings."""

    name: str = "x"
    """A name; it may be anything at all, so that this description is long enough to be wrapped on
    more than one line of the file."""
    rate: float = 1e-5
    sampling: Sampling = Sampling()
    sources: tuple[Source, ...] = Field(default=(), strict=False)
    named: dict[str, Source] = Field(default_factory=dict)
    free: dict[str, object] = Field(default_factory=dict)


# --- scalars -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-0.0", 0.0),
        ("+7", 7),
        ("010", 10),
        ("0o10", 8),
        ("0x1f", 31),
        ("-3", -3),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("null", None),
        ("~", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("0b1", "0b1"),
        ("e3", "e3"),
        (".", "."),
        ("1e", "1e"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("<<", "<<"),
        ("=", "="),
    ],
)
def test_scalars_follow_the_core_schema(text, value):
    found = parse_yaml(f"key: {text}", source="text")["key"]
    assert found == value
    assert type(found) is type(value)


def test_nan_is_a_float():
    assert math.isnan(parse_yaml(".nan", source="text"))


@pytest.mark.parametrize("text", ["9" * 5000, "1e999", "-1e400"])
def test_a_number_that_does_not_fit_stays_text(text):
    assert parse_yaml(text, source="text") == text


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc:#-{ ", max_size=5), inner)
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_json_is_yaml(value):
    assert parse_yaml(json.dumps(value, ensure_ascii=False), source="text") == value


@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused_on_one_line(text):
    message = ""
    try:
        parse_yaml(text, source="text")
    except UsageError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb:\n  c: 2\n  c: 3\n", ["line 4", "`c` occurs twice", "line 3"]),
        ("a: 1\n? 1\n: 2\n1: 3\n", ["line 4", "`1`"]),
        ("a: !!python/object/apply:os.system [ls]", ["line 1", "tag"]),
        ("!!binary aGk=", ["tag"]),
        ("a: *b", ["*b", "no anchor"]),
        ("a: &a [*a]", ["part of"]),
        ("a: 1\n---\nb: 2\n", ["line 2", "second document"]),
        ("a: [1, 2", ["not valid YAML", "line"]),
        ("a: b: c", ["not valid YAML", "line 1"]),
        ("1.5: x", ["key", "1.5"]),
        ("true: x", ["key", "True"]),
        ("[a, b]: x", ["key"]),
        ("a: \x07", ["not valid YAML"]),
    ],
)  # fmt: skip
def test_refused_texts_name_the_line(text, words):
    with pytest.raises(UsageError) as caught:
        parse_yaml(text, source="recipe.yaml")
    message = str(caught.value)
    assert message.startswith("recipe.yaml")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_alias_bomb_is_refused_at_once():
    lines = ["a0: &a0 [x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    started = time.perf_counter()
    with pytest.raises(UsageError, match="more than 100000 values"):
        parse_yaml("\n".join(lines), source="bomb")
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000 + "a", "{a: " * 100_000])
def test_deep_nesting_is_refused(text):
    with pytest.raises(UsageError, match="deeper than 64"):
        parse_yaml(text, source="deep")


def test_the_pure_python_parser_does_the_same(monkeypatch):
    monkeypatch.setattr("hsimap.config._yaml._LOADER", yaml.SafeLoader)
    assert parse_yaml("a: &x {b: [1e-3, no]}\nc: *x", source="t")["c"] == {"b": [0.001, "no"]}
    with pytest.raises(UsageError, match="deeper than 64"):
        parse_yaml("[" * 3000, source="deep")
    with pytest.raises(UsageError, match="line 1"):
        parse_yaml("a: b: c", source="t")


def test_aliases_are_copies():
    data = parse_yaml("a: &x {b: [1]}\nc: *x", source="text")
    data["a"]["b"].append(2)
    assert data["c"] == {"b": [1]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["is empty", "mapping"]),
        (b"- a\n", ["list", "mapping"]),
        (b"a: \xe4\n", ["UTF-8", "byte 3"]),
        (b"#" * (1 << 20) + b"\n", ["1048576"]),
    ],
)
def test_bad_files(tmp_path, content, words):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load_yaml(path)
    assert all(word in str(caught.value) for word in [str(path), *words])


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="not a regular file"):
        load_yaml(tmp_path)


def test_a_byte_order_mark_is_dropped(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: a\n")
    assert load_yaml(path) == {"name": "a"}


# --- validation ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"sampling": {"patchs": 8}}, ["`sampling.patchs`", "did you mean `patch`?"]),
        ({"flips": True}, ["`flips`", "did you mean `sampling.flips`?"]),
        ({"zzz": 1}, ["`zzz`", "known here: name, rate, sampling"]),
        ({"sources": [{"image": "a"}, {"imag": "b"}]}, ["`sources.1.imag`", "`image`"]),
        ({"named": {"n": {"image": "a", "nodat": 1}}}, ["`named.n.nodat`", "`nodata`"]),
        ({1: 2}, ["`1`"]),
        ({"sampling": {"patch": 4}}, ["`sampling.patch`", "greater than or equal to 8", "got 4"]),
        ({"sampling": {"patch": "32"}}, ["`sampling.patch`", "integer", "'32'"]),
        ({"sampling": {"patch": True}}, ["`sampling.patch`", "integer", "True"]),
        ({"sampling": {"flips": "yes"}}, ["`sampling.flips`", "boolean", "'yes'"]),
        ({"sampling": {"shares": [0.5, "a"]}}, ["`sampling.shares.1`", "number", "'a'"]),
        ({"sampling": 3}, ["`sampling`", "3"]),
        ({"rate": math.nan}, ["`rate`", "finite"]),
        ({"sources": [{}]}, ["`sources.0.image`", "missing"]),
        ([], ["got []"]),
    ],
)  # fmt: skip
def test_a_bad_value_is_named_with_its_place(data, words):
    with pytest.raises(UsageError) as caught:
        validate(Whole, data, source="r.yaml")
    message = str(caught.value)
    assert message.startswith("r.yaml: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_good_mapping_becomes_a_record():
    data = {"sampling": {"shares": [0.5, 1]}, "sources": [{"image": "a", "nodata": math.inf}]}
    record = validate(Whole, data, source="r.yaml")
    assert record.sampling.shares == (0.5, 1.0)
    assert record.sources == (Source(image="a", nodata=math.inf),)


# --- overrides -----------------------------------------------------------------------------------


def test_overrides_reach_every_kind_of_place():
    data = {"tasks": {"cover": {"classes": {1: "roof"}}}, "scenes": [{"image": "a"}], "none": None}
    changed = apply_overrides(
        data,
        [
            "tasks.cover.classes.1=tree",
            "scenes.0.image=b=c",
            "none.x=1e-3",
            "new.deep={a: [1, no]}",
            "tasks.cover.unit=",
        ],
    )
    assert changed == {
        "tasks": {"cover": {"classes": {1: "tree"}, "unit": None}},
        "scenes": [{"image": "b=c"}],
        "none": {"x": 0.001},
        "new": {"deep": {"a": [1, "no"]}},
    }
    assert data["scenes"] == [{"image": "a"}]
    assert "new" not in data


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("training.epochs", ["dotted.key=value"]),
        ("=3", ["dotted.key=value"]),
        ("a..b=3", ["dotted.key=value"]),
        ("name.x=3", ["`name` is the value 'n'"]),
        ("scenes.2.image=3", ["`scenes` is a list of 1", "`2`"]),
        ("scenes.image=3", ["`image`"]),
        ("name=[1", ["--set name=[1", "not valid YAML"]),
    ],
)
def test_overrides_that_lead_nowhere(item, words):
    with pytest.raises(UsageError) as caught:
        apply_overrides({"name": "n", "scenes": [{"image": "a"}]}, [item])
    assert all(word in str(caught.value) for word in words)


def test_an_unknown_override_is_refused_like_an_unknown_key():
    with pytest.raises(UsageError, match=r"`sampling\.patc`; did you mean `patch`"):
        validate(Whole, apply_overrides({}, ["sampling.patc=8"]), source="r.yaml")


# --- the commented dump --------------------------------------------------------------------------

TEXTS = st.text(max_size=130) | st.sampled_from(
    ["no", "1e-3", "null", "a: b", "- a", "010", "#", ""]
)
RECORDS = st.builds(
    Whole,
    name=TEXTS,
    rate=st.floats(allow_nan=False, allow_infinity=False),
    sampling=st.builds(Sampling, patch=st.integers(8, 10**9), flips=st.booleans()),
    sources=st.lists(
        st.builds(Source, image=TEXTS, nodata=st.none() | st.floats(allow_nan=False)), max_size=3
    ).map(tuple),
    named=st.dictionaries(TEXTS, st.builds(Source, image=TEXTS), max_size=2),
    free=st.dictionaries(TEXTS, JSON, max_size=3),
)  # fmt: skip


@given(RECORDS)
def test_what_is_dumped_reads_back(record):
    text = dump_commented(record)
    assert validate(Whole, parse_yaml(text, source="dump"), source="dump") == record


def test_every_described_field_is_commented_once():
    record = Whole(sources=(Source(image="a"), Source(image="b")), sampling=Sampling(patch=64))
    text = dump_commented(record)
    assert text.count("# Side of a patch in pixels.") == 1
    assert "# A name; it may be anything at all" in text
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "rate: 1e-05\n" in text
    assert "\n  - image: a\n    nodata: null\n  - image: b\n" in text
