import json
import pickle
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hsimap.errors import UsageError
from hsimap.networks import (
    NetworkSettings,
    NetworkSpec,
    NormalisationSpec,
    architectures,
    build_network,
    dilation_rates,
    pooling_blocks,
    read_settings,
)


@pytest.mark.parametrize("architecture", sorted(architectures()))
def test_a_spec_survives_json(make_spec, architecture):
    spec = make_spec("cover", "height", "salience", architecture=architecture)
    spec = spec.model_copy(update={"temperature": {"cover": 1.7}})
    text = json.dumps(spec.model_dump(mode="json"))
    assert NetworkSpec.model_validate_json(text) == spec


def test_a_stored_spec_holds_the_numbers_of_its_preset(make_spec):
    stored = make_spec(preset="small", decoder_width=96).model_dump()["settings"]
    assert stored["widths"] == (32, 64, 128, 256)
    assert stored["blocks"] == (1, 2, 3, 2)
    assert stored["attention"] == (2, 4, 8)
    assert stored["decoder_width"] == 96


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"architecture": "spectral_spatial", "preset": "tiny"}, "preset is no setting of"),
        ({"architecture": "taiga", "width": 32}, "width is no setting of the architecture taiga"),
        ({"architecture": "spectral_spatial", "kernel": 4}, "must be odd, got 4"),
        ({"architecture": "spectral_spatial", "context": (6,)}, "must be odd, got 6"),
        ({"widths": (16, 32, 64)}, "at least 4 items"),
        ({"rates": ()}, "at least one dilation rate"),
        ({"attention": (3,)}, "attention"),
        ({"wdth": 3}, "wdth"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        NetworkSettings.model_validate(settings)


def test_a_spec_that_contradicts_itself_is_refused(make_spec):
    spec = make_spec("cover", "height").model_dump()
    for change, words in (
        ({"outputs": spec["outputs"][::-1]}, "main outputs of the tasks, in their order"),
        ({"outputs": spec["outputs"][:1]}, "main outputs"),
        ({"normalisation": {"mean": (1.0,), "std": (1.0,)}}, "1 bands, the input 5"),
        ({"scaling": {"cover": (0.0, 1.0)}}, r"\['cover'\], which is no continuous task"),
    ):
        with pytest.raises(ValidationError, match=words):
            NetworkSpec.model_validate(spec | change)
    with pytest.raises(ValidationError, match="positive std"):
        NormalisationSpec(mean=(1.0,), std=(0.0,))


@given(patch=st.integers(2, 64).map(lambda n: 8 * n))
def test_automatic_rates_scale_with_the_patch_and_stay_inside_it(patch):
    rates = dilation_rates(NetworkSettings(), patch=patch)
    assert list(rates) == sorted(rates)
    for rate, paper in zip(rates, (6, 12, 18), strict=True):
        assert abs(rate - max(1, paper * patch / 256)) <= 0.5
        assert rate * 8 < patch


def test_a_rate_that_only_sees_padding_is_refused(make_spec):
    with pytest.raises(UsageError, match=r"dilation rate 6 at stride 8 reaches 48 px.*of 32 px"):
        build_network(make_spec(rates=(6, 12, 18), patch=32))
    with pytest.raises(UsageError, match="rate 1 at stride 8"):
        dilation_rates(NetworkSettings(), patch=8)


@given(patch=st.integers(2, 80).map(lambda n: 8 * n))
def test_pooling_blocks_tile_the_patch(patch):
    block, n_blocks = pooling_blocks(NetworkSettings(), patch=patch)
    assert block * n_blocks == patch
    assert block % 8 == 0
    assert n_blocks >= min(8, patch // 8)


def test_a_patch_or_block_that_does_not_fit_is_refused(make_spec):
    with pytest.raises(UsageError, match="multiple of 8, got 45"):
        build_network(make_spec(patch=45))
    with pytest.raises(UsageError, match=r"pooling_block 24 does not divide .* 32 px"):
        build_network(make_spec(patch=32, pooling_block=24))


def test_the_settings_themselves_need_no_torch():
    code = (
        "import sys, types, hsimap, pathlib\n"
        "package = types.ModuleType('hsimap.networks')\n"
        "package.__path__ = [str(pathlib.Path(hsimap.__file__).parent / 'networks')]\n"
        "sys.modules['hsimap.networks'] = package\n"
        "import hsimap.networks._spec, hsimap.networks._taiga_settings\n"
        "import hsimap.networks._baseline_settings\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


FORMER = {
    "architecture": "taiga", "aspp": "dense_sum", "attention": [2, 4, 8], "blocks": [1, 1, 1, 1],
    "context": [], "decoder_width": 64, "dilations": [1, 1], "dropout": 0.0, "kernel": 3,
    "pooling_block": None, "preset": "tiny", "rates": "auto", "spectral_layers": 2, "width": 64,
    "widths": [16, 32, 64, 128],
}  # fmt: skip
"""As bundles stored settings when two architectures shared one record."""


def test_settings_of_former_bundles_load():
    assert NetworkSettings.model_validate(FORMER) == NetworkSettings(preset="tiny")
    compact = {**FORMER, "architecture": "spectral_spatial", "width": 32, "context": [5]}
    compact |= dict.fromkeys(("preset", "widths", "blocks", "decoder_width", "attention"))
    expected = NetworkSettings(architecture="spectral_spatial", width=32, context=(5,))
    assert NetworkSettings.model_validate(compact) == expected
    assert read_settings(FORMER, source="recipe") == NetworkSettings(preset="tiny")


def test_a_former_field_that_was_set_is_still_refused():
    with pytest.raises(ValidationError, match="kernel is no setting of the architecture taiga"):
        NetworkSettings.model_validate({**FORMER, "kernel": 5})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"width": 32}, "recipe x: network: width is no setting of the architecture taiga, which"),
        ({"architecture": "unet", "rates": [1]}, "rates is no setting of the architecture unet"),
        ({"architecture": "unett"}, "'unett' is no architecture; did you mean unet?"),
        ({"architecture": 3}, "3 is no architecture"),
        ({"wdths": [1]}, "unknown key `wdths`; did you mean `widths`?"),
        ({"preset": "huge"}, "preset"),
        ({"ablation": "RX"}, "ablation"),
        ({"architecture": "segnet", "widths": [4, 4]}, "as many convs as widths, got 5 for 2"),
        ({"architecture": "gsc_vit", "region": 9}, "multiple of window 4: 9"),
        ({"architecture": "gsc_vit", "groups": 5}, "groups must divide all widths, got 5"),
        ({"architecture": "mstnet_style", "heads": 5}, "multiple of heads 5, got 128"),
    ],
)
def test_a_recipe_is_told_in_one_line(data, words):
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        read_settings(data, source="recipe x: network")
    assert "\n" not in str(caught.value)


def test_each_architecture_has_a_record_of_its_own():
    for name, kind in architectures().items():
        settings = NetworkSettings(architecture=name)
        assert type(settings) is kind
        assert kind() == settings == NetworkSettings.model_validate(settings)
        assert settings.model_copy() == settings
        assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - made here
        if kind.presets:
            assert sorted(kind.presets) == ["half", "paper", "small", "tiny"]
            assert settings.preset == "tiny"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("baseline", (False, "none", (), False)),
        ("R", (True, "none", (), False)),
        ("RD", (True, "dense_sum", (), False)),
        ("RDA", (True, "dense_sum", (2, 4, 8), False)),
        ("RDAM", (True, "dense_sum", (2, 4, 8), False)),
        ("DAC", (False, "dense_sum", (2, 4, 8), True)),
        ("full", (True, "dense_sum", (2, 4, 8), True)),
        (None, (True, "dense_sum", (2, 4, 8), True)),
    ],
)
def test_a_row_of_table_v_sets_its_switches(row, expected):
    found = NetworkSettings(preset="small", ablation=row)
    assert (found.residual, found.aspp, found.attention, found.channel_pooling) == expected
    stored = NetworkSettings.model_validate_json(found.model_dump_json())
    assert stored == found
    other = NetworkSettings(ablation=row, attention=(8,), residual=True, aspp="parallel")
    assert (other.attention, other.residual, other.aspp) == ((8,), True, "parallel")
