"""Zarr stores hold the numbers of the COGs, and open clean in xarray and GDAL."""

import hashlib
import json

import numpy as np
import pytest
import rasterio
import xarray
from affine import Affine
from test_products import HEIGHT, TREES, class_map, grid, layer, reader

from hsimap.errors import OutputExistsError, VerificationError
from hsimap.products import (
    describe_layers,
    flag_layer,
    open_maps,
    verify_folder,
    write_layer,
    write_manifest,
    write_zarr,
)

FLAT = Affine.translation(3e5, 6.8e6) @ Affine.scale(0.7, -0.7)


def finished(folder, transform, height=700, width=530):
    folder.mkdir()
    where = grid(height, width, transform=transform)
    coarse = where.coarsen(2)
    rng = np.random.default_rng(0)
    names = tuple(c.name for c in TREES.classes)
    layers = (
        layer("classes", TREES, where),
        layer("probabilities", TREES, where, names),
        layer("values", HEIGHT, coarse),
        flag_layer(where, ["cloud", "shadow"]),
    )
    values = rng.normal(size=(1, coarse.height, coarse.width)).astype(np.float32)
    values[0, :3] = np.nan
    arrays = (
        class_map(height, width),
        rng.integers(0, 65536, (3, height, width)).astype(np.uint16),
        values,
        rng.choice(np.uint8([0, 1, 3, 255]), (1, height, width)),
    )
    files = [
        p for a, b in zip(layers, arrays, strict=True) for p in write_layer(folder, a, reader(b))
    ]
    write_manifest(folder, {"scene": {"name": "line"}, **describe_layers(layers)}, files=files)
    return open_maps(folder), dict(zip([a.name for a in layers], arrays, strict=True))


@pytest.mark.parametrize("transform", [FLAT, FLAT @ Affine.rotation(17)], ids=["flat", "turned"])
def test_version_2_is_the_cogs_in_xarray_and_in_gdal(tmp_path, transform):
    maps, arrays = finished(tmp_path / "m", transform)
    write_zarr(tmp_path / "z", maps)
    ds = xarray.open_zarr(tmp_path / "z" / "maps.zarr", decode_coords="all", mask_and_scale=False)
    np.testing.assert_array_equal(ds["species"], arrays["species"][0])
    np.testing.assert_array_equal(ds["mean_height"], arrays["mean_height"][0])
    np.testing.assert_array_equal(ds["species_probability_5"], arrays["species_probability"][1])
    assert ds["species"].attrs["flag_values"] == [1, 5, 9]
    assert ds["species"].attrs["flag_meanings"].split()[1:] == ["spruce", "birch"]
    assert ds["qa"].attrs["flag_masks"] == [1, 2]
    assert (ds["mean_height"].attrs["units"], ds["mean_height"].attrs["long_name"]) == (
        "m", "mean height",
    )  # fmt: skip
    assert ds["species"].encoding["grid_mapping"] == "spatial_ref"
    assert ("x" in ds.coords) == (transform == FLAT)
    for made in maps.layers:
        with (
            rasterio.open(maps.file(made)) as cog,
            rasterio.open(tmp_path / "z" / f"{made.name}.vrt") as vrt,
        ):
            np.testing.assert_array_equal(vrt.read(), cog.read())
            np.testing.assert_allclose(vrt.transform, cog.transform, rtol=1e-15)
            assert vrt.crs == cog.crs
            assert vrt.descriptions == cog.descriptions
            assert str(vrt.nodata) == str(cog.nodata)
            if made.kind == "classes":
                assert vrt.colormap(1)[5] == cog.colormap(1)[5]


def test_masked_and_scaled_reading_gives_physical_numbers(tmp_path):
    maps, arrays = finished(tmp_path / "m", FLAT, 40, 30)
    write_zarr(tmp_path / "z", maps)
    ds = xarray.open_zarr(tmp_path / "z" / "maps.zarr")
    shares = arrays["species_probability"][0]
    expected = np.where(shares == 65535, np.nan, shares / 65534)
    np.testing.assert_allclose(ds["species_probability_1"], expected, rtol=1e-6)
    centre = maps.layers[0].grid.transform @ (2.5, 1.5)
    np.testing.assert_allclose([ds.x[2], ds.y[1]], centre)


def test_version_3_has_the_overviews_and_says_where_they_lie(tmp_path):
    maps, arrays = finished(tmp_path / "m", FLAT @ Affine.rotation(17))
    write_zarr(tmp_path / "z", maps, zarr_format=3)
    store = tmp_path / "z" / "maps.zarr"
    root = json.loads((store / "zarr.json").read_text())["attributes"]
    assert {c["name"] for c in root["zarr_conventions"]} == {"proj", "spatial", "multiscales"}
    assert [level["asset"] for level in root["multiscales"]["layout"]] == ["0", "1"]
    base = xarray.open_zarr(store, group="0", mask_and_scale=False, consolidated=False)
    np.testing.assert_array_equal(base["species"], arrays["species"][0])
    np.testing.assert_array_equal(base["species_probability"], arrays["species_probability"])
    half = xarray.open_zarr(store, group="1", mask_and_scale=False, consolidated=False)
    with rasterio.open(maps.file(maps.layers[0]), overview_level=0) as file:
        np.testing.assert_array_equal(half["species"], file.read(1))
    place = half["species"].attrs
    assert place["spatial:shape"] == [350, 265]
    expected = maps.layers[0].grid.coarsen(2).transform
    np.testing.assert_allclose(place["spatial:transform"], list(expected)[:6])
    assert place["proj:code"] == "EPSG:3067"


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_every_chunk_is_in_the_manifest_and_bytes_repeat(tmp_path, zarr_format):
    maps, _ = finished(tmp_path / "m", FLAT, 40, 30)
    for name in ("a", "b"):
        write_zarr(tmp_path / name, maps, zarr_format=zarr_format)
    assert verify_folder(tmp_path / "a") == []
    digests = [
        {p.relative_to(tmp_path / n): hashlib.sha256(p.read_bytes()).hexdigest()
         for p in sorted((tmp_path / n).rglob("*")) if p.is_file()}
        for n in ("a", "b")
    ]  # fmt: skip
    assert digests[0] == digests[1]
    with pytest.raises(OutputExistsError, match="not empty"):
        write_zarr(tmp_path / "a", maps)
    chunks = [p for p in (tmp_path / "a" / "maps.zarr").rglob("*") if p.is_file()]
    chunk = max(chunks, key=lambda p: p.stat().st_size)
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(VerificationError, match="altered"):
        verify_folder(tmp_path / "a")
