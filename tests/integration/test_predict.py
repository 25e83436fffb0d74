"""The Python entry points of prediction on files, against a toy network computed in numpy."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hsimap
from hsimap.errors import MismatchError, OutputExistsError, ResourceError, StorageError
from hsimap.geometry import Grid
from hsimap.mapping import MapSettings, choose_model, map_scene, output_folders
from hsimap.mapping.settings import plan_map
from hsimap.products import _cog, _overviews
from hsimap.scenes import open_scene

spec = importlib.util.spec_from_file_location("toys", Path(__file__).with_name("conftest.py"))
toys = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toys)

SMALL = MapSettings(runtime="onnx", threads=1, tile=16, trim=2, ramp=4)


@pytest.fixture
def mapped(tmp_path, write_scene, toy_bundle):
    values = write_scene(tmp_path / "line.tif")
    report = map_scene(
        open_scene(tmp_path / "line.tif"), toy_bundle, settings=SMALL, out=tmp_path / "maps"
    )
    return values, report


def read(path):
    with rasterio.open(path) as file:
        return file.read(), file.profile, file.descriptions, file.units


def test_every_map_holds_the_exact_values_and_nodata_where_a_band_is_invalid(mapped):
    values, report = mapped
    valid = (values != toys.NODATA).all(axis=0)
    expected = toys.expected_maps(values, valid)
    codes, profile, _, _ = read(report.folder / "cover.tif")
    truth = np.where(valid, toys.CLASSES.codes[expected["cover"].argmax(axis=0)], 255)
    np.testing.assert_array_equal(codes[0], truth)
    assert profile["nodata"] == 255
    height, _, names, units = read(report.folder / "height.tif")
    np.testing.assert_allclose(height[0][valid], expected["height"][0][valid], rtol=1e-5, atol=1e-5)
    assert np.isnan(height[0][~valid]).all()
    assert (names, units) == (("height",), ("m",))
    saliency, *_ = read(report.folder / "building.tif")
    np.testing.assert_allclose(saliency[0][valid], expected["building"][0][valid], atol=1e-6)
    probability, profile, names, _ = read(report.folder / "cover_probability.tif")
    assert names == ("water & ice", "forest", "field")
    assert profile["nodata"] == 65535
    decoded = probability[:, valid] / 65534
    np.testing.assert_allclose(decoded, expected["cover"][:, valid], atol=1e-5)
    assert (probability[:, ~valid] == 65535).all()


def test_an_output_of_stride_two_becomes_a_map_of_twice_the_pixel_size(mapped):
    values, report = mapped
    valid = (values != toys.NODATA).all(axis=0)
    height = toys.expected_maps(values, valid)["height"][0]
    coarse, profile, _, _ = read(report.folder / "density.tif")
    assert profile["transform"] == Affine(4.0, 0, 3e5, 0, -4.0, 6.8e6)
    means = height.reshape(35, 2, 45, 2).mean(axis=(1, 3))
    whole = valid.reshape(35, 2, 45, 2).all(axis=(1, 3))
    np.testing.assert_allclose(coarse[0][whole], means[whole], rtol=1e-4, atol=1e-4)
    assert np.isnan(coarse[0][~whole]).all()


def test_the_folder_holds_maps_styles_tables_preview_and_a_manifest_of_their_hashes(mapped):
    _, report = mapped
    names = {path.name for path in report.folder.iterdir()}
    for stem in ("cover", "height", "building", "density", "cover_probability"):
        assert {f"{stem}.tif", f"{stem}.qml"} <= names
    assert {"cover.tif.aux.xml", "preview.png", "manifest.json"} <= names
    assert not {name for name in names if name.startswith(".")}
    manifest = json.loads((report.folder / "manifest.json").read_text())
    assert set(manifest["files"]) == names - {"manifest.json"}
    counts = manifest["statistics"]["cover"]
    assert sum(counts["classes"].values()) + counts["nodata"] == counts["pixels"] == 70 * 90


def test_a_second_run_is_already_complete_and_rewrites_nothing(mapped, toy_bundle, tmp_path):
    _, report = mapped
    before = {path: path.stat().st_mtime_ns for path in report.folder.iterdir()}
    again = map_scene(
        open_scene(tmp_path / "line.tif"), toy_bundle, settings=SMALL, out=report.folder
    )
    assert again.already_complete
    assert {path: path.stat().st_mtime_ns for path in report.folder.iterdir()} == before


def test_another_run_is_refused_by_the_field_that_differs_and_overwrite_replaces_it(
    mapped, toy_bundle, tmp_path
):
    _, report = mapped
    scene = open_scene(tmp_path / "line.tif")
    other = replace(SMALL, tile=32)
    with pytest.raises(OutputExistsError, match=r"differs in: tiles\.tile\)"):
        map_scene(scene, toy_bundle, settings=other, out=report.folder)
    forced = map_scene(
        scene, toy_bundle, settings=replace(other, overwrite=True), out=report.folder
    )
    assert not forced.already_complete
    assert forced.plan.tiles.kept == 32


def test_a_foreign_raster_is_never_replaced_unasked(tmp_path, write_scene, toy_bundle):
    write_scene(tmp_path / "line.tif")
    out = tmp_path / "maps"
    out.mkdir()
    (out / "cover.tif").write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match=r"cover\.tif, which no finished run"):
        map_scene(open_scene(tmp_path / "line.tif"), toy_bundle, settings=SMALL, out=out)
    assert (out / "cover.tif").read_bytes() == b"mine"


def test_two_runs_give_the_same_bytes_in_every_file_but_the_manifest(mapped, toy_bundle, tmp_path):
    _, report = mapped
    scene = open_scene(tmp_path / "line.tif")
    again = map_scene(scene, toy_bundle, settings=SMALL, out=tmp_path / "again")
    for name in again.files:
        if name != "manifest.json":
            first, second = report.folder / name, again.folder / name
            assert first.read_bytes() == second.read_bytes(), name


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    tile=st.integers(1, 24),
    trim=st.integers(0, 6),
    ramp=st.integers(0, 6),
)
def test_python_and_files_hold_the_same_numbers_for_any_plan(
    tmp_path_factory, write_scene, toy_bundle, height, width, tile, trim, ramp
):
    folder = tmp_path_factory.mktemp("law")
    write_scene(folder / "line.tif", height=height, width=width)
    options = MapSettings(runtime="onnx", threads=1, tile=tile, trim=trim, ramp=ramp)
    scene = open_scene(folder / "line.tif")
    lazy = hsimap.predict(scene, toy_bundle, settings=options)
    report = map_scene(scene, toy_bundle, settings=options, out=folder / "maps")
    for name in ("cover", "height", "building", "density"):
        stored, *_ = read(report.folder / f"{name}.tif")
        np.testing.assert_array_equal(lazy[name].compute().values, stored[0])
    probability, *_ = read(report.folder / "cover_probability.tif")
    decoded = np.where(probability == 65535, np.nan, probability / 65534)
    np.testing.assert_allclose(lazy["cover_probability"].values, decoded, atol=1e-6)


def test_a_data_array_is_mapped_like_the_file_it_came_from(tmp_path, write_scene, toy_bundle):
    write_scene(tmp_path / "line.tif")
    scene = open_scene(tmp_path / "line.tif")
    lazy = hsimap.predict(scene.array, toy_bundle, settings=SMALL)
    assert isinstance(lazy, xr.Dataset)
    direct = hsimap.predict(scene, toy_bundle, settings=SMALL)
    for name in direct.data_vars:
        np.testing.assert_array_equal(lazy[name].values, direct[name].values)


def test_a_rotated_scene_maps_to_the_same_values_on_its_own_affine(
    tmp_path, write_scene, toy_bundle
):
    turned = Affine.translation(3e5, 6.8e6) @ Affine.rotation(30) @ Affine.scale(2, -2)
    write_scene(tmp_path / "north.tif")
    write_scene(tmp_path / "turned.tif", transform=turned)
    maps = {}
    for name in ("north", "turned"):
        scene = open_scene(tmp_path / f"{name}.tif")
        maps[name] = map_scene(scene, toy_bundle, settings=SMALL, out=tmp_path / f"maps_{name}")
    for stem in ("cover", "height"):
        first, *_ = read(maps["north"].folder / f"{stem}.tif")
        second, profile, *_ = read(maps["turned"].folder / f"{stem}.tif")
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(profile["transform"], turned, rtol=1e-12)


@pytest.mark.data
def test_the_rotated_big_endian_flight_line_maps_like_its_north_up_twin(
    data_folder, tmp_path, make_bundle
):
    folder = data_folder / "reader_formats"
    twins = [open_scene(folder / name) for name in ("hymap_rotated.img", "hymap_berlin_int16.bil")]
    picked = np.array(twins[0].bands.wavelength_nm)[[3, 20, 50, 90]]
    bundle = make_bundle(tmp_path / "model", wavelengths=tuple(map(float, picked)))
    reports = [
        map_scene(scene, bundle, settings=SMALL, out=tmp_path / scene.name) for scene in twins
    ]
    turned = Affine.translation(383851.349, 5819308.225) @ Affine.rotation(30) @ Affine.scale(9, -9)
    for stem in ("cover", "height", "cover_probability"):
        (first, profile, *_), (second, *_) = (read(r.folder / f"{stem}.tif") for r in reports)
        np.testing.assert_array_equal(first, second)
        assert len(np.unique(first)) > 1
        np.testing.assert_allclose(profile["transform"], turned, rtol=1e-9)


def test_a_scene_without_crs_is_mapped_and_said(tmp_path, write_scene, toy_bundle):
    write_scene(tmp_path / "line.tif", crs=None)
    scene = open_scene(tmp_path / "line.tif")
    report = map_scene(scene, toy_bundle, settings=SMALL, out=tmp_path / "maps")
    assert any("CRS" in note for note in report.notes)


def test_unlike_wavelengths_are_refused(tmp_path, write_scene, make_bundle):
    write_scene(tmp_path / "line.tif")
    bundle = make_bundle(tmp_path / "swir", wavelengths=(450.0, 550.0, 650.0, 1650.0))
    with pytest.raises(MismatchError, match="1650"):
        map_scene(open_scene(tmp_path / "line.tif"), bundle, settings=SMALL, out=tmp_path / "maps")
    assert not (tmp_path / "maps").exists()


def test_too_little_memory_is_refused_with_the_needed_figure(tmp_path, write_scene, toy_bundle):
    write_scene(tmp_path / "line.tif")
    tight = replace(SMALL, memory=64 << 20)
    with pytest.raises(ResourceError, match=r"needs about \d+ MiB"):
        map_scene(
            open_scene(tmp_path / "line.tif"), toy_bundle, settings=tight, out=tmp_path / "maps"
        )


@given(memory=st.integers(420, 1200), tile=st.sampled_from([None, 32]))
def test_the_plan_with_what_is_read_at_once_stays_within_the_memory(toy_bundle, memory, tile):
    grid = Grid(height=2048, width=2048, transform=Affine.identity(), crs=None)
    options = MapSettings(memory=memory << 20, tile=tile)
    try:
        plan = plan_map(grid, toy_bundle.manifest, options, itemsize=2)
    except ResourceError:
        assert memory < 600
        return
    assert plan.memory_bytes <= options.memory
    assert 1 <= plan.at_once <= plan.tiles.n_cols
    if memory > 1000:
        assert plan.at_once > 3


def test_an_output_that_cannot_be_made_is_refused(tmp_path, write_scene, toy_bundle):
    write_scene(tmp_path / "line.tif")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write to"):
        map_scene(
            open_scene(tmp_path / "line.tif"),
            toy_bundle,
            settings=SMALL,
            out=tmp_path / "file" / "maps",
        )


def test_an_interrupted_run_resumes_to_the_same_bytes(mapped, toy_bundle, tmp_path, monkeypatch):
    _, report = mapped
    scene = open_scene(tmp_path / "line.tif")
    out = tmp_path / "resumed"

    def stop(done, total):
        if done == total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_scene(scene, toy_bundle, settings=SMALL, out=out, progress=stop)
    assert not list(out.glob("*.tif"))
    counts = []
    map_scene(
        scene,
        toy_bundle,
        settings=SMALL,
        out=out,
        progress=lambda done, total: counts.append(total),
    )
    tiles = report.plan.tiles
    assert counts[-1] < tiles.n_rows * tiles.n_cols
    for name in report.files:
        if name != "manifest.json":
            assert (report.folder / name).read_bytes() == (out / name).read_bytes(), name


def test_tiles_are_made_while_the_strips_are_computed(
    tmp_path, write_scene, toy_bundle, monkeypatch
):
    for module in (_cog, _overviews):
        monkeypatch.setattr(module, "BLOCK", 16)
    write_scene(tmp_path / "line.tif")
    out, sizes = tmp_path / "maps", []

    def look(done, total):
        sizes.append((out / ".hsimap-run" / "height.0.tiles").stat().st_size)

    scene = open_scene(tmp_path / "line.tif")
    map_scene(scene, toy_bundle, settings=SMALL, out=out, progress=look)
    assert 0 < sizes[-1] < (out / "height.tif").stat().st_size


def test_the_one_model_that_fits_is_chosen_and_several_are_listed(
    tmp_path, write_scene, make_bundle, monkeypatch
):
    monkeypatch.delenv("HSIMAP_MODEL", raising=False)
    write_scene(tmp_path / "line.tif")
    scene = open_scene(tmp_path / "line.tif")
    models = tmp_path / "models"
    models.mkdir()
    make_bundle(models / "swir", wavelengths=(450.0, 550.0, 650.0, 1650.0), name="swir")
    with pytest.raises(hsimap.errors.UsageError, match="none of the 1 models"):
        choose_model(scene, folder=models)
    make_bundle(models / "first", name="first")
    assert choose_model(scene, folder=models).manifest.name == "first"
    make_bundle(models / "second", name="second")
    with pytest.raises(hsimap.errors.UsageError, match=r"2 models fit line: .*first.*second"):
        choose_model(scene, folder=models)


def test_scenes_of_one_stem_get_folders_of_their_own():
    scenes = [Path("a/line.tif"), Path("b/line.tif"), Path("c/b.tif"), Path("b/line.img")]
    folders = output_folders(scenes, Path("maps"))
    assert len(set(folders)) == 4
    assert folders[:2] == [Path("maps/line"), Path("maps/b")]
