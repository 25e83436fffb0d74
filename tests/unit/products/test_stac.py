"""Catalogues judged by pystac: its schemas of STAC 1.1 and its models of the extensions."""

import hashlib
import json
from pathlib import Path

import pystac
import pytest
import rasterio
import shapely
from affine import Affine
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import RasterExtension
from pystac.validation import validate_dict
from rasterio.warp import transform_geom
from test_zarr import FLAT, finished

from hsimap.cli._main import run
from hsimap.errors import UsageError
from hsimap.products import open_maps, write_catalogue
from hsimap.products._stac import EXTENSIONS


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    base = tmp_path_factory.mktemp("stac")
    maps, _ = finished(base / "m", FLAT @ Affine.rotation(17), 40, 30)
    written = write_catalogue(
        base / "c",
        [maps],
        title="A campaign",
        when=("2026-07-01T08:00:00Z", "2026-07-01T09:00:00Z"),
    )
    return (
        maps,
        [json.loads(path.read_text()) for path in written],
        pystac.read_file(str(written[0])),
    )


def test_collection_and_items_are_valid_against_the_schemas_of_stac(catalogue):
    _, plain, collection = catalogue
    for content in plain:
        assert content["stac_version"] == "1.1.0"
        validate_dict(content, extensions=[])
    assert [item.id for item in collection.get_items()] == ["line"]
    (item,) = collection.get_items()
    assert item.get_collection().id == "a-campaign"
    assert item.properties["start_datetime"] == "2026-07-01T08:00:00Z"
    assert set(item.stac_extensions) == set(EXTENSIONS.values())
    assert item.properties["processing:level"] == "L4"


def test_a_broken_item_is_not_valid(catalogue):
    _, plain, _ = catalogue
    broken = {**plain[1], "properties": {"datetime": "yesterday"}}
    with pytest.raises(pystac.STACValidationError):
        validate_dict(broken, extensions=[])


def test_place_bands_classes_and_checksums_are_those_of_the_files(catalogue):
    maps, _, collection = catalogue
    (item,) = collection.get_items()
    for layer in maps.layers:
        asset = item.assets[layer.name]
        place = ProjectionExtension.ext(asset)
        with rasterio.open(asset.get_absolute_href()) as file:
            assert place.code == f"EPSG:{file.crs.to_epsg()}"
            assert place.shape == [file.height, file.width]
            assert place.transform == pytest.approx(list(file.transform)[:6], rel=1e-15)
            assert tuple(band["name"] for band in asset.extra_fields["bands"]) == file.descriptions
        data = Path(asset.get_absolute_href()).read_bytes()
        assert FileExtension.ext(asset).checksum == "1220" + hashlib.sha256(data).hexdigest()
        assert FileExtension.ext(asset).size == len(data)
    species = ClassificationExtension.ext(item.assets["species"])
    assert [(c.value, c.color_hint) for c in species.classes[:3]] == [
        (1, "1B7837"), (5, "762A83"), (9, "F28E2B"),
    ]  # fmt: skip
    assert species.classes[3].nodata
    flags = ClassificationExtension.ext(item.assets["qa"]).bitfields
    assert [(flag.offset, flag.length, flag.name) for flag in flags] == [
        (0, 1, "cloud"), (1, 1, "shadow"),
    ]  # fmt: skip
    height = item.assets["mean_height"].extra_fields["bands"][0]
    assert (height["unit"], height["nodata"]) == ("m", "nan")
    assert RasterExtension.has_extension(item)
    shares = item.assets["species_probability"].extra_fields["bands"]
    assert shares[1]["raster:scale"] == 1 / 65534


def test_the_outline_lies_where_the_maps_do(catalogue):
    maps, _, collection = catalogue
    (item,) = collection.get_items()
    grid = maps.layers[0].grid
    centre = grid.transform @ (grid.width / 2, grid.height / 2)
    place = {"type": "Point", "coordinates": centre}
    degrees = shapely.geometry.shape(transform_geom("EPSG:3067", "EPSG:4326", place))
    outline = shapely.geometry.shape(item.geometry)
    assert outline.contains(degrees)
    assert item.bbox == pytest.approx(outline.bounds)


def test_maps_without_a_place_and_equal_names(tmp_path, catalogue, capsys):
    maps, _, _ = catalogue
    with pytest.raises(UsageError, match="must differ"):
        write_catalogue(tmp_path / "c", [maps, maps], title="x")
    out = str(tmp_path / "c")
    assert run(["stac", str(maps.path), "--out", out]) == 0
    assert "--time is not given" in capsys.readouterr().err
    assert run(["stac", str(maps.path), "--out", out]) == 23
    assert run(["stac", str(maps.path), "--out", out, "--overwrite", "--time", "noon"]) == 2
    assert open_maps(maps.path).name == "line"
