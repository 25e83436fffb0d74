"""Real scenes as campaigns: one scene in five formats, and plots and files of NEON."""

import json
import re
import shutil

import numpy as np
import pytest
import rasterio

from hsimap.cli._main import run
from hsimap.products import verify_folder

pytestmark = pytest.mark.data
OPTIONS = ("--runtime", "onnx", "--threads", "1", "--force")


@pytest.fixture(scope="module")
def model(make_bundle, tmp_path_factory):
    """A network of four bands that every sensor here has."""
    path = tmp_path_factory.mktemp("models") / "four"
    return make_bundle(path, wavelengths=(480.0, 560.0, 660.0, 850.0)).path


def batch(out, model, *words):
    code = run(["batch", *map(str, words), "--model", str(model), "--out", str(out), *OPTIONS])
    return code, json.loads((out / "campaign.json").read_text())


@pytest.fixture(scope="module")
def formats(data_folder, tmp_path_factory):
    """HyMap over Berlin as float and int16 BSQ, BIL, BIP and GeoTIFF, on one grid."""
    root, source = tmp_path_factory.mktemp("formats"), data_folder / "reader_formats"
    for name in ("hymap_berlin_float.bsq", "hymap_berlin_int16.bil", "hymap_berlin_int16.bip"):
        shutil.copy(source / name, root)
    shutil.copy(source / "hymap_berlin_float.hdr", root)
    for name in ("hymap_berlin_int16.bil.hdr", "hymap_berlin_int16.bip.hdr"):
        shutil.copy(source / name, root)
    # The big-endian copy is turned by its header alone; straight it shows the same ground.
    turned = (source / "hymap_rotated.hdr").read_text()
    (root / "hymap_big_endian.hdr").write_text(turned.replace(", rotation=30.0", ""))
    shutil.copy(source / "hymap_rotated.img", root / "hymap_big_endian.img")
    with rasterio.open(source / "hymap_berlin_int16.bil") as file:
        values, profile = file.read(), {**file.profile, "driver": "GTiff", "tiled": True}
    profile |= {"blockxsize": 64, "blockysize": 64, "compress": "deflate", "interleave": "band"}
    nm = [float(w) * 1000 for w in re.search(r"\nwavelength = {(.*?)}", turned)[1].split(",")]
    with rasterio.open(root / "hymap_geotiff.tif", "w", **profile) as file:
        file.write(values)
        for band, wavelength in enumerate(nm, 1):
            file.update_tags(band, wavelength=f"{wavelength:g}", wavelength_units="nm")
    return root


def test_one_scene_in_five_formats_agrees_with_itself(formats, model, tmp_path):
    code, facts = batch(tmp_path / "maps", model, formats)
    assert code == 0
    assert len(facts["lines"]) == 5
    with rasterio.open(tmp_path / "maps" / "mosaic" / "n_obs.tif") as file:
        assert set(np.unique(file.read())) == {5, 255}
    table = {row["variable"]: row for row in facts["mosaic"]["agreement"]}
    # Ten pairs; the four with the float file differ from it by the rounding of the others.
    assert table["cover"]["agreement"] == 1.0
    assert table["height"]["rmsd"] < 1e-6
    pairs = (tmp_path / "maps" / "mosaic" / "agreement.csv").read_text().splitlines()
    exact = [line for line in pairs if "float" not in line and line.split(",")[2] == "height"]
    assert len(exact) == 7  # all pairs together, and six of the four that hold integers
    assert {line.split(",")[6] for line in exact[1:]} == {"0.0"}


def test_plots_and_files_of_neon_are_a_campaign_of_two_workers(data_folder, model, tmp_path):
    folder = data_folder / "neon_unlabelled"
    sites = (folder, data_folder / "neon_sjer052" / "scene.tif")
    code, facts = batch(tmp_path / "maps", model, *sites, "--mosaic", "none", "--workers", "2")
    assert code == 0
    names = [line["line"] for line in facts["lines"]]
    assert sorted(names) == ["harv_plot", "neon_sjer_30x30", "osbs_plot", "scene"]
    alone, _ = batch(tmp_path / "alone", model, *sites, "--mosaic", "none")
    assert alone == 0
    for name in names:
        assert verify_folder(tmp_path / "maps" / name) == []
        for path in (tmp_path / "maps" / name).glob("*.tif"):
            assert path.read_bytes() == (tmp_path / "alone" / name / path.name).read_bytes()
        with rasterio.open(tmp_path / "maps" / name / "height.tif") as file:
            assert np.isfinite(file.read()).mean() > 0.9


def test_sites_far_apart_are_refused_as_one_mosaic_before_work_starts(
    data_folder, model, tmp_path, capsys
):
    words = [str(data_folder / "neon_unlabelled"), "--model", str(model)]
    assert run(["batch", *words, "--out", str(tmp_path / "maps")]) == 11
    assert "lie far apart" in capsys.readouterr().err
    assert not list(tmp_path.glob("maps/*/*.tif"))
