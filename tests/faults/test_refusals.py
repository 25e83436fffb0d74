"""What a run refuses before it starts, or on the way: another run's leavings, a full disk."""

import os
import shutil
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from hsimap.errors import InputError, OutputExistsError, StorageError, VerificationError
from hsimap.mapping import MapSettings, map_scene
from hsimap.mapping import identity as identity_module
from hsimap.mapping.journal import RunFolder
from hsimap.products import RUN_FOLDER
from hsimap.scenes import open_scene

SMALL = MapSettings(runtime="onnx", threads=1, tile=16, trim=2, ramp=4, probabilities="none")


@pytest.fixture
def scene(tmp_path, write_scene):
    """An ENVI scene of nine strips: a data file and a header."""
    import rasterio

    write_scene(tmp_path / "line.tif", height=140, width=60)
    with rasterio.open(tmp_path / "line.tif") as file:
        values, grid = file.read(), file.transform
    values.tofile(tmp_path / "line.img")
    (tmp_path / "line.hdr").write_text(
        "ENVI\nsamples = 60\nlines = 140\nbands = 4\ndata type = 2\ninterleave = bsq\n"
        "byte order = 0\ndata ignore value = -9999\nwavelength units = Nanometers\n"
        f"map info = {{UTM, 1, 1, {grid.c}, {grid.f}, 2, 2, 33, North, WGS-84}}\n"
        "wavelength = {450, 550, 650, 850}\n"
    )
    return tmp_path / "line.img"


def interrupt(done, total):
    if done > total // 2:
        raise KeyboardInterrupt


def begin(scene, bundle, out, **options):
    with pytest.raises(KeyboardInterrupt), open_scene(scene) as opened:
        map_scene(opened, bundle, settings=replace(SMALL, **options), out=out, progress=interrupt)


def same_time(path):
    """Return a function that sets a file's times back to what they are now."""
    stat = path.stat()
    return lambda: os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def touched(scene):
    os.utime(scene, ns=(1, 1))


def other_byte(scene, *, at):
    back = same_time(scene)
    data = bytearray(scene.read_bytes())
    data[at] ^= 1
    scene.write_bytes(data)
    back()


def longer_header(scene):
    header = scene.with_suffix(".hdr")
    back = same_time(header)
    header.write_text(header.read_text() + "description = {x}\n")
    back()


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (touched, "scene.line.img.mtime_ns"),
        (lambda scene: other_byte(scene, at=0), "scene.line.img.sha256_head_tail"),
        (lambda scene: other_byte(scene, at=-1), "scene.line.img.sha256_head_tail"),
        (longer_header, "scene.line.hdr.sha256_head_tail, scene.line.hdr.size"),
    ],
    ids=["mtime", "head", "tail", "header"],
)
def test_a_changed_scene_is_not_resumed_and_the_field_is_named(
    scene, toy_bundle, tmp_path, change, fields, monkeypatch
):
    # The file is larger than both ends.
    monkeypatch.setattr("hsimap.scenes._fingerprint._HEAD", 1024)
    begin(scene, toy_bundle, tmp_path / "maps")
    change(scene)
    with (
        open_scene(scene) as opened,
        pytest.raises(OutputExistsError, match=f"unfinished run that differs in {fields};"),
    ):
        map_scene(opened, toy_bundle, settings=SMALL, out=tmp_path / "maps")


@pytest.mark.parametrize(
    ("options", "reading", "fields"),
    [
        ({"tile": 32}, {}, "tiles.tile"),
        ({"probabilities": "max"}, {}, "probabilities"),
        ({"threads": 2}, {}, "runtime.streams, runtime.threads"),
        ({}, {"nodata": 0.0}, "reading.nodata"),
        ({}, {"scale": 0.5}, "reading.scale"),
    ],
)
def test_other_options_do_not_resume_and_the_field_is_named(
    scene, toy_bundle, tmp_path, options, reading, fields
):
    begin(scene, toy_bundle, tmp_path / "maps")
    settings = replace(SMALL, **options)
    with (
        open_scene(scene, **reading) as opened,
        pytest.raises(OutputExistsError, match=f"unfinished run that differs in {fields};"),
    ):
        map_scene(opened, toy_bundle, settings=settings, out=tmp_path / "maps")


def test_another_model_does_not_resume(scene, toy_bundle, make_bundle, tmp_path):
    begin(scene, toy_bundle, tmp_path / "maps")
    other = make_bundle(tmp_path / "other", name="other")
    with open_scene(scene) as opened, pytest.raises(OutputExistsError, match="differs in model;"):
        map_scene(opened, other, settings=SMALL, out=tmp_path / "maps")


def test_another_version_of_what_decides_a_bit_does_not_resume(
    scene, toy_bundle, tmp_path, monkeypatch
):
    begin(scene, toy_bundle, tmp_path / "maps")
    monkeypatch.setattr(identity_module, "version", lambda name: f"{name} 99")
    words = r"differs in versions\.numpy, versions\.rasterio;"
    with open_scene(scene) as opened, pytest.raises(OutputExistsError, match=words):
        map_scene(opened, toy_bundle, settings=SMALL, out=tmp_path / "maps")


def test_a_scene_that_changes_while_it_is_read_is_not_committed(scene, toy_bundle, tmp_path):
    def change(done, total):
        if done == total:
            touched(scene)

    out = tmp_path / "maps"
    with open_scene(scene) as opened, pytest.raises(InputError, match="changed while it was read"):
        map_scene(opened, toy_bundle, settings=SMALL, out=out, progress=change)
    assert {path.name for path in out.iterdir()} == {RUN_FOLDER}


def test_a_disk_that_is_too_small_is_refused_with_the_figure_and_nothing_is_written(
    scene, toy_bundle, tmp_path, monkeypatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100 << 10))
    out = tmp_path / "maps"
    words = r"has 0\.1 MiB free and the run needs about 0\.3 MiB; free some space"
    with open_scene(scene) as opened, pytest.raises(StorageError, match=words):
        map_scene(opened, toy_bundle, settings=SMALL, out=out)
    assert list(out.iterdir()) == []


def test_what_an_interrupted_run_holds_of_the_disk_counts_as_free(
    scene, toy_bundle, tmp_path, monkeypatch
):
    out = tmp_path / "maps"
    begin(scene, toy_bundle, out)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=240 << 10))
    with open_scene(scene) as opened:
        assert map_scene(opened, toy_bundle, settings=SMALL, out=out).strips_resumed > 0


@pytest.mark.parametrize("streams", [1, 2])
def test_a_kill_loses_one_strip_and_one_tile_row_however_slow_the_disk_is(
    scene, toy_bundle, tmp_path, monkeypatch, streams
):
    tiles, unsaved = 0, []
    record = RunFolder.record

    def slowly(self, receipts):
        time.sleep(0.05)
        unsaved.append(tiles - min(receipts) * 4)
        record(self, receipts)

    def count(done, total):
        nonlocal tiles
        tiles = done

    monkeypatch.setattr(RunFolder, "record", slowly)
    with open_scene(scene) as opened:
        report = map_scene(
            opened, toy_bundle, settings=replace(SMALL, threads=streams), out=tmp_path / "maps",
            progress=count,
        )  # fmt: skip
    assert (report.plan.tiles.n_cols, len(unsaved)) == (4, 9)
    assert report.plan.streams == streams
    assert max(unsaved) + streams == 4 + 4  # so many were in hand


def test_a_damaged_manifest_is_told_and_can_be_replaced(scene, toy_bundle, tmp_path):
    out = tmp_path / "maps"
    out.mkdir()
    (out / "manifest.json").write_text("{")
    with open_scene(scene) as opened:
        with pytest.raises(VerificationError, match="is damaged"):
            map_scene(opened, toy_bundle, settings=SMALL, out=out)
        forced = map_scene(opened, toy_bundle, settings=replace(SMALL, overwrite=True), out=out)
    assert not forced.already_complete
