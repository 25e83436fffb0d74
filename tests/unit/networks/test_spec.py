import json
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
    build_network,
    dilation_rates,
    pooling_blocks,
)


@pytest.mark.parametrize("architecture", ["taiga", "spectral_spatial"])
def test_a_spec_survives_json(make_spec, architecture):
    spec = make_spec("cover", "height", "salience", architecture=architecture)
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


def test_the_settings_module_itself_needs_no_torch():
    code = (
        "import sys, types, importlib.util as u, hsimap, pathlib\n"
        "folder = pathlib.Path(hsimap.__file__).parent / 'networks'\n"
        "spec = u.spec_from_file_location('alone', folder / '_spec.py')\n"
        "module = u.module_from_spec(spec)\n"
        "sys.modules['alone'] = module\n"
        "spec.loader.exec_module(module)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
