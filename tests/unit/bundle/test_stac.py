"""A model as a STAC item, judged by pystac and its model of the MLM extension."""

from pathlib import Path

import pystac
import pytest
from pystac.extensions.mlm import MLMExtension
from pystac.validation import validate_dict

from hsimap.bundle import Bundle, model_item

DEMO = Path(__file__).parents[3] / "models" / "boreal-demo"


@pytest.fixture(scope="module")
def made():
    bundle = Bundle.load(DEMO)
    return bundle, model_item(bundle, href="../model")


def test_the_item_is_valid_and_read_by_the_extension(made):
    bundle, content = made
    validate_dict(content, extensions=[])
    item = pystac.Item.from_dict(content)
    model = MLMExtension.ext(item)
    assert model.mlm_name == "boreal-demo"
    assert model.tasks == ["regression", "semantic-segmentation"]
    spec = model.input[0].input
    assert spec.shape == [-1, bundle.manifest.input.n_bands, -1, -1]
    assert [out.name for out in model.output] == [out.name for out in bundle.manifest.outputs]


def test_the_bands_that_the_input_names_are_described_on_the_weights(made):
    bundle, content = made
    names = content["properties"]["mlm:input"][0]["bands"]
    asset = content["assets"]["weights.safetensors"]
    assert [band["name"] for band in asset["bands"]] == names
    nm = [1000 * band["eo:center_wavelength"] for band in asset["bands"]]
    assert nm == pytest.approx(bundle.manifest.input.wavelength_nm)
    assert "mlm:model" in asset["roles"]
    assert asset["mlm:artifact_type"] == "safetensors"
    assert asset["file:checksum"] == "1220" + bundle.manifest.files["weights.safetensors"].sha256
