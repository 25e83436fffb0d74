"""A model maps a scene of another sensor as it maps that of its own, or stops and says why."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hsimap.bundle import Bundle
from hsimap.errors import MismatchError
from hsimap.mapping import MapSettings, map_scene
from hsimap.mapping.adapter import SceneAdapter
from hsimap.scenes import open_scene

ROOT = Path(__file__).parents[2]
SIDE = 128
N_COARSE = 60
FWHM_NM = 11.0
BAD = (7, 23, 41)
AGREEMENT = 0.985
"""Least share of pixels whose class is the same from the bands of either sensor."""
RMSE_INCREASE = 0.015
"""Most that another sensor may add to the RMSE, in standard deviations of the truth."""
SETTINGS = MapSettings(runtime="onnx", threads=1, probabilities="none")


@pytest.fixture(scope="module")
def model():
    return Bundle.load(ROOT / "models" / "boreal-demo")


@pytest.fixture(scope="module")
def scene():
    """Reflectance of a part of the sample, ``(band, y, x)``, and its wavelengths in nm."""
    with open_scene(ROOT / "sample_data" / "scene.tif") as opened:
        values, valid = opened.read(opened.grid.window)
        assert valid[:SIDE, :SIDE].mean() > 0.5
        nm = np.array(opened.bands.wavelength_nm)
        return np.where(valid, values, 0)[:, :SIDE, :SIDE].astype(np.float32) * 1e-4, nm


def as_coarse_sensor(reflectance, nm):
    """Sixty bands with Gaussian responses, from the red end down."""
    centres = np.linspace(nm[0] + 1, nm[-1] - 1, N_COARSE)[::-1]
    response = np.exp(-4 * np.log(2) * ((nm[None] - centres[:, None]) / FWHM_NM) ** 2)
    response /= response.sum(axis=1, keepdims=True)
    return np.tensordot(response, reflectance, 1).astype(np.float32), centres


def write_envi(path, values, nm, *, bad=(), unit="Micrometers"):
    """Write float32 BSQ without a scale factor, wavelengths in micrometres."""
    values.astype("<f4").tofile(path)
    factor = 1e-3 if unit == "Micrometers" else 1.0
    flags = ", ".join("0" if i in bad else "1" for i in range(len(nm)))
    waves = ", ".join(f"{w * factor:.6f}" for w in nm)
    path.with_suffix(".hdr").write_text(
        f"ENVI\nsamples = {values.shape[2]}\nlines = {values.shape[1]}\nbands = {len(nm)}\n"
        f"header offset = 0\ndata type = 4\ninterleave = bsq\nbyte order = 0\n"
        f"data ignore value = 0\n"
        f"wavelength units = {unit}\nwavelength = {{{waves}}}\nbbl = {{{flags}}}\n"
        f"map info = {{UTM, 1, 1, 356000, 6860000, 0.7, 0.7, 35, North, WGS-84}}\n"
    )
    return path


def mapped(path, model, out, **changes):
    with open_scene(path) as opened:
        return map_scene(opened, model, settings=replace(SETTINGS, **changes), out=out)


def smooth_spectra(nm):
    """Reflectance without noise, ``(band, y, x)``: a red edge and two broad humps."""
    rng = np.random.default_rng(4)
    share, level = rng.random((2, SIDE, SIDE))
    edge = 0.05 + 0.4 / (1 + np.exp(-(nm - 715) / 25))
    humps = 0.1 + 0.1 * np.sin(nm / 110) + 0.05 * np.cos(nm / 190)
    return (share * edge[:, None, None] + level * humps[:, None, None]).astype(np.float32)


def test_another_sensor_gives_the_network_the_same_spectra(tmp_path, model, scene):
    nm = scene[1]
    truth = smooth_spectra(nm)
    values, centres = as_coarse_sensor(truth, nm)
    values[list(BAD)] = 9.0
    path = write_envi(tmp_path / "coarse.img", values, centres, bad=BAD)
    with open_scene(path) as opened:
        adapter = SceneAdapter(opened, model.manifest.input, resample="auto")
        image, valid = adapter.read_for_network(opened.grid.window)
        report = map_scene(opened, model, settings=SETTINGS, out=tmp_path / "maps")
    assert valid.all()
    error = np.abs(image * 1e-4 - truth).max(axis=(1, 2))
    assert error.max() < 0.02  # next to the red edge, with a bad band beside it
    assert np.median(error) < 0.002
    assert any("estimated from the training spectra" in note for note in report.notes)
    assert any("1 is guessed from its values" in note for note in report.notes)
    manifest = json.loads((tmp_path / "maps" / "manifest.json").read_text())
    assert sum(manifest["bands"].values()) == nm.size
    assert manifest["bands"] == {"estimated": nm.size}


def radiance_stops_as_shuffled_wavelengths_do(values, nm, model, folder):
    """See that neither is mapped; give the scene of radiance."""
    order = np.random.default_rng(0).permutation(nm.size)
    shuffled = write_envi(folder / "shuffled.img", values, nm[order])
    with pytest.raises(MismatchError, match="does not resemble"):
        mapped(shuffled, model, folder / "a")
    sun = nm**-5.0 / np.expm1(1.4388e7 / (nm * 5772))
    radiance = values * (90 * sun / sun.max())[:, None, None]
    path = write_envi(folder / "radiance.img", radiance, nm)
    with pytest.raises(MismatchError, match="holds radiance"):
        mapped(path, model, folder / "b")
    return path


def test_shuffled_wavelengths_and_radiance_stop_before_the_first_tile(tmp_path, model, scene):
    path = radiance_stops_as_shuffled_wavelengths_do(*scene, model, tmp_path)
    assert not list((tmp_path / "b").glob("*.tif"))
    report = mapped(path, model, tmp_path / "b", force=True)
    assert any("holds radiance" in note for note in report.notes)


def test_what_is_measured_is_judged_and_not_what_is_estimated_from_it(tmp_path, model, scene):
    radiance_stops_as_shuffled_wavelengths_do(*as_coarse_sensor(*scene), model, tmp_path)


def test_a_scene_may_lack_the_bands_that_the_model_can_do_without(tmp_path, model, scene):
    values, nm = scene
    spare = list(model.manifest.input.dispensable)
    assert len(spare) >= 8
    kept = np.setdiff1d(np.arange(nm.size), spare)
    mapped(write_envi(tmp_path / "own.img", values, nm), model, tmp_path / "own")
    path = write_envi(tmp_path / "fewer.img", values[kept], nm[kept])
    report = mapped(path, model, tmp_path / "fewer")
    assert any("estimated from the training spectra" in note for note in report.notes)
    own, fewer = maps_of(tmp_path / "own", model), maps_of(tmp_path / "fewer", model)
    compare(own, fewer, model, agreement=0.95, rise=0.05)


def test_never_refuses_other_bands(tmp_path, model, scene):
    path = write_envi(tmp_path / "coarse.img", *as_coarse_sensor(*scene))
    with pytest.raises(MismatchError, match="--resample auto"):
        mapped(path, model, tmp_path / "maps", resample="never")


def maps_of(folder, model):
    found = {}
    for task in model.manifest.tasks:
        with rasterio.open(folder / f"{task.name}.tif") as file:
            found[task.name] = file.read(1)
    return found


def truths():
    """Return what the sample's pixels are, map name to ``(y, x)``."""
    found = {}
    for name in ("classes", "variables"):
        with rasterio.open(ROOT / "sample_data" / f"{name}.tif") as file:
            for band, task in enumerate(file.descriptions, 1):
                found[task] = file.read(band)[:SIDE, :SIDE].astype(np.float64)
    return found


def compare(own, other, model, *, agreement=AGREEMENT, rise=RMSE_INCREASE):
    """Hold the maps of one scene from other bands against those from its own."""
    for task in model.manifest.tasks:
        a, b, truth = own[task.name], other[task.name], truths()[task.name]
        if task.classes:
            known = (a != 255) & (b != 255)
            assert (a == b)[known].mean() >= agreement, task.name
            continue
        known = np.isfinite(a) & np.isfinite(b) & np.isfinite(truth)
        rmse = [np.sqrt(np.square(map_ - truth)[known].mean()) for map_ in (a, b)]
        assert rmse[1] - rmse[0] <= rise * truth[known].std(), task.name


def test_the_maps_of_another_sensor_are_those_of_its_own(tmp_path, model, scene):
    values, nm = scene
    mapped(write_envi(tmp_path / "own.img", values, nm), model, tmp_path / "own")
    coarse, centres = as_coarse_sensor(values, nm)
    coarse[list(BAD)] = 9.0 * (values.max(axis=0) > 0)
    mapped(write_envi(tmp_path / "other.img", coarse, centres, bad=BAD), model, tmp_path / "other")
    own, other = maps_of(tmp_path / "own", model), maps_of(tmp_path / "other", model)
    compare(own, other, model)
