"""Campaigns on files: found, checked, mapped, resumed; on two processes that are killed, too."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import rasterio
from affine import Affine

from hsimap.cli._main import run
from hsimap.errors import MismatchError, StorageError, UsageError
from hsimap.flightlines import (
    BatchSettings,
    SpreadSettings,
    check_lines,
    find_lines,
    map_lines,
    threads_for,
)
from hsimap.flightlines._pool import open_pool
from hsimap.mapping import MapSettings
from hsimap.mapping.parts import LineJob, map_strips, prepare_line
from hsimap.products import RUN_FOLDER, verify_folder

SMALL = MapSettings(runtime="onnx", threads=1, tile=16, trim=2, ramp=4)
OPTIONS = ("--runtime", "onnx", "--threads", "1", "--tile", "16")


def maps(folder):
    """Every file of a folder that must repeat to the byte."""
    assert verify_folder(folder) == []
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != "manifest.json"}


def silent(event, facts):
    """Listen to nothing."""


@pytest.fixture(scope="module")
def campaign(tmp_path_factory, write_scene):
    """Three overlapping lines and, in one folder of them, a raster that is none."""
    root = tmp_path_factory.mktemp("campaign")
    for n in range(3):
        place = (
            Affine.translation(3e5 + 60 * n, 6.8e6) @ Affine.rotation(5 * n) @ Affine.scale(2, -2)
        )
        (root / f"line{n}").mkdir()
        write_scene(root / f"line{n}" / "scene.tif", transform=place, seed=n)
    other = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 9, "width": 9,
             "crs": "EPSG:32633", "transform": Affine(2, 0, 0, 0, -2, 0)}  # fmt: skip
    with rasterio.open(root / "line0" / "labels.tif", "w", **other) as file:
        file.write(np.ones((1, 9, 9), np.uint8))
    return root


def batch(out, toy_bundle, *arguments):
    model = ("--model", str(toy_bundle.path))
    return run(["batch", *map(str, arguments), *model, "--out", str(out), *OPTIONS])


def test_a_folder_becomes_maps_and_a_mosaic_and_a_second_call_does_nothing(
    campaign, toy_bundle, tmp_path, capsys
):
    out = tmp_path / "maps"
    assert batch(out, toy_bundle, campaign) == 0
    said = capsys.readouterr().out
    assert "3 of 3 lines" in said
    assert "1 other rasters in the folders do not fit" in said
    facts = json.loads((out / "campaign.json").read_text())
    assert facts["complete"]
    assert [line["line"] for line in facts["lines"]] == [f"line{n}_scene" for n in range(3)]
    assert all(line["state"] == "complete" for line in facts["lines"])
    assert facts["mosaic"]["lines"] == [f"line{n}_scene" for n in range(3)]
    count = rasterio.open(out / "mosaic" / "n_obs.tif").read()
    assert {1, 2, 3, 255} == set(np.unique(count))
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.tif")}
    assert batch(out, toy_bundle, campaign) == 0
    assert capsys.readouterr().out.count("already complete") == 4
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.tif")} == before


def test_a_line_that_fails_does_not_stop_the_others_and_is_done_later(
    campaign, toy_bundle, write_scene, tmp_path, capsys
):
    scenes = [tmp_path / f"{name}.tif" for name in "abc"]
    for n, scene in enumerate(scenes):
        write_scene(scene, seed=n)
    sound = scenes[1].read_bytes()
    scenes[1].write_bytes(sound[: len(sound) // 2])
    out = tmp_path / "maps"
    assert batch(out, toy_bundle, *scenes) == 40
    said = capsys.readouterr()
    assert re.search(r"error: 1 of 3 lines failed: b; mend them", said.err)
    facts = json.loads((out / "campaign.json").read_text())
    assert [line["state"] for line in facts["lines"]] == ["complete", "failed", "complete"]
    assert facts["lines"][1]["exit_code"] == 10
    assert facts["mosaic"] is None
    scenes[1].write_bytes(sound)
    assert batch(out, toy_bundle, *scenes) == 0
    said = capsys.readouterr().out
    assert said.count("already complete") == 2
    assert (out / "mosaic" / "manifest.json").exists()


def test_a_dry_run_writes_nothing_and_misfits_are_told_before_work_starts(
    campaign, toy_bundle, tmp_path, capsys
):
    out = tmp_path / "maps"
    wrong = campaign / "line0" / "labels.tif"
    assert batch(out, toy_bundle, campaign / "line1", wrong, "--dry-run") == 0
    said = capsys.readouterr().out
    assert re.search(r"labels\s+cannot be mapped: .*band", said)
    assert not out.exists()
    assert batch(out, toy_bundle, wrong, "--mosaic", "none") == 40


def test_lines_are_found_by_pattern_list_and_stac(campaign, tmp_path):
    paths = [campaign / f"line{n}" / "scene.tif" for n in range(3)]
    assert find_lines([str(campaign / "*" / "scene.tif")]) == (paths, [])
    sure, maybe = find_lines([str(campaign)])
    assert sure == []
    assert set(maybe) == {*paths, campaign / "line0" / "labels.tif"}
    text = f"# lines\n\n{paths[0]}\n{os.path.relpath(paths[1], tmp_path)}  # the second\n"
    (tmp_path / "lines.txt").write_text(text)
    found, _ = find_lines([], listed=tmp_path / "lines.txt")
    assert [p.resolve() for p in found] == [p.resolve() for p in paths[:2]]
    items = [
        {
            "id": f"l{n}",
            "assets": {"cube": {"href": str(p), "roles": ["data"]}, "quick": {"href": "q.png"}},
        }
        for n, p in enumerate(paths)
    ]
    (tmp_path / "items.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": items})
    )
    assert find_lines([], stac=tmp_path / "items.json")[0] == paths
    for word, match in (("nowhere.tif", "no file or folder"), ("none*.tif", "no file matches")):
        with pytest.raises(UsageError, match=match):
            find_lines([word])


def test_envi_lines_of_a_folder_are_their_data_files(tmp_path):
    for name in ("a.bil", "a.hdr", "b", "b.hdr", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    assert find_lines([str(tmp_path)])[1] == [tmp_path / "a.bil", tmp_path / "b"]
    (tmp_path / "d.zarr").mkdir()
    (tmp_path / "d.zarr" / "zarr.json").write_text("{}")
    (tmp_path / "d.zarr" / "inner.tif").write_bytes(b"")
    (tmp_path / "e.h5").write_bytes(b"")
    found = find_lines([str(tmp_path)])[1]
    assert found[2:] == [tmp_path / "d.zarr", tmp_path / "e.h5"]
    assert find_lines([str(tmp_path / "*.zarr")])[0] == [tmp_path / "d.zarr"]


def test_files_that_differ_in_their_suffix_alone_are_told_apart(
    campaign, toy_bundle, write_scene, tmp_path, capsys
):
    for name in ("a.tif", "a.tiff", "b.tif"):
        write_scene(tmp_path / name)
    assert batch(tmp_path / "maps", toy_bundle, tmp_path, "--mosaic", "none", "--dry-run") == 0
    said = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert said[:3] == ["a_tif", "a_tiff", "b"]


def test_too_little_room_is_told_before_work_starts(campaign, toy_bundle, tmp_path, monkeypatch):
    import shutil

    real = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(free=1000))
    sure, maybe = find_lines([str(campaign)])
    with pytest.raises(StorageError, match="3 lines need about"):
        check_lines(
            sure,
            maybe,
            model=toy_bundle.path,
            settings=BatchSettings(mapping=SMALL),
            out=tmp_path / "maps",
        )


def test_threads_follow_what_was_begun_and_not_the_workers(campaign, toy_bundle, tmp_path):
    assert threads_for(3, [], workers=2) == 3
    assert threads_for(None, [], workers=10**6) == 1
    job = LineJob(
        scene=campaign / "line0" / "scene.tif", model=toy_bundle.path,
        settings=MapSettings(runtime="onnx", threads=5, tile=16), out=tmp_path,
    )  # fmt: skip
    prepare_line(job)
    assert threads_for(None, [tmp_path / "none", tmp_path], workers=10**6) == 5


def test_a_worker_that_is_not_alike_is_refused_unless_that_is_allowed(
    campaign, toy_bundle, tmp_path, monkeypatch
):
    from dataclasses import replace

    from hsimap.mapping import identity

    scene = campaign / "line0" / "scene.tif"
    job = LineJob(scene=scene, model=toy_bundle.path, settings=SMALL, out=tmp_path)
    line = prepare_line(job)
    monkeypatch.setattr(identity, "version", lambda name: f"{name} 99")
    with pytest.raises(MismatchError, match=r"differs in: versions\.numpy.*--allow-mixed"):
        map_strips(line, [0])
    mixed = replace(line, job=replace(line.job, mixed=True))
    assert set(map_strips(mixed, [0, 1])) == {0, 1}


@pytest.fixture(scope="module")
def long_line(tmp_path_factory, write_scene, toy_bundle):
    """A line of 94 strips, and its maps by this process alone."""
    root = tmp_path_factory.mktemp("long")
    write_scene(root / "line.tif", height=1500, width=60)
    job = LineJob(scene=root / "line.tif", model=toy_bundle.path, settings=SMALL, out=root / "maps")
    (result,) = map_lines([job], SpreadSettings(), tell=silent)
    assert (result.error, result.strips_computed) == (None, 94)
    return job, maps(root / "maps")


def worker_ids():
    """The processes that this one's cluster computes in."""
    children = psutil.Process().children(recursive=True)
    return [p.pid for p in children if "spawn_main" in " ".join(p.cmdline())]


def test_local_workers_are_not_watched_closely():
    import dask

    with open_pool("local", workers=2, retries=0, device="cpu") as pool:
        assert pool.expected == pool.size == pool.at_once == 2
        for name, found in (("worker.profile.enabled", False), ("admin.tick.interval", "500ms")):
            pool.submit(name, dask.config.get, f"distributed.{name}", priority=0)
            assert pool.busy == 1
            assert pool.next() == (name, found)


def test_two_workers_one_killed_twice_give_the_bytes_of_one_process(long_line, tmp_path):
    from dataclasses import replace

    job, whole = long_line
    killed, runs = [], []

    def kill(event, facts):
        if event == "strips":
            runs.append(facts["done"])
            if len(runs) in {1, 4}:
                killed.append(worker_ids()[0])
                os.kill(killed[-1], signal.SIGKILL)

    job = replace(job, out=tmp_path / "maps")
    (result,) = map_lines([job], SpreadSettings(workers=2), tell=kill)
    assert result.error is None
    assert len(killed) == 2
    assert len(runs) > 6
    assert sorted(strip for run in runs for strip in run) == list(range(94))
    assert maps(tmp_path / "maps") == whole
    assert not worker_ids()


def test_after_the_caller_was_killed_only_missing_runs_are_computed(long_line, tmp_path):
    job, whole = long_line
    out, log = tmp_path / "maps", tmp_path / "log"
    words = ["predict", str(job.scene), "--model", str(job.model), "--out", str(out), *OPTIONS]
    words += ["--trim", "2", "--ramp", "4", "--workers", "2", "--log-json", str(log)]
    process = subprocess.Popen([sys.executable, "-m", "hsimap", *words], stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while time.monotonic() < limit and process.poll() is None:
        if log.exists() and log.read_text().count('"strips", ') >= 2:
            break
        time.sleep(0.005)
    process.kill()
    process.wait()
    journal = out / "line" / RUN_FOLDER / "journal.jsonl"
    done = {json.loads(line)["strip"] for line in journal.read_text().splitlines() if "}" in line}
    assert 4 <= len(done) < 94
    log.unlink()
    assert run(words) == 0
    events = [json.loads(line) for line in log.read_text().splitlines()]
    computed = [strip for e in events if e["event"] == "strips" for strip in e["done"]]
    assert sorted(computed) == sorted(set(range(94)) - done)
    assert maps(out / "line") == whole
    assert run(words) == 0


def test_errors_of_several_workers_are_those_of_one(campaign, toy_bundle, tmp_path, capsys):
    out, model = str(tmp_path / "maps"), str(toy_bundle.path)
    labels, scene = (str(campaign / "line0" / name) for name in ("labels.tif", "scene.tif"))
    assert run(["predict", labels, "--model", model, "--out", out, "--workers", "2"]) == 11
    (tmp_path / "maps" / "scene").mkdir(parents=True)
    (tmp_path / "maps" / "scene" / "cover.tif").write_bytes(b"of another")
    words = ["predict", scene, "--model", model, "--out", out, "--workers", "2"]
    assert run(words) == 23
    assert "no finished run of hsimap wrote" in capsys.readouterr().err
    assert run(["batch", scene, "--model", model, "--out", out, "--scheduler", "cloud"]) == 2


def test_a_running_cluster_is_taken_by_its_address(long_line, campaign, toy_bundle, tmp_path):
    from distributed import LocalCluster

    job, whole = long_line
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", memory_limit=0,
        dashboard_address=None, silence_logs=50,
    ) as cluster:  # fmt: skip
        words = ["batch", str(job.scene), "--model", str(job.model), *OPTIONS, "--mosaic", "none"]
        where = ["--out", str(tmp_path), "--scheduler", cluster.scheduler_address]
        assert run([*words, *where]) == 0
        gpu = [*words, "--out", str(tmp_path / "gpu"), "--device", "cuda"]
        assert run([*gpu, "--scheduler", cluster.scheduler_address]) == 21
    assert set(maps(tmp_path / "line")) == set(whole)
    facts = json.loads((tmp_path / "campaign.json").read_text())
    assert facts["lines"][0]["strips_computed"] == 94


def test_a_scheduler_that_is_lost_ends_the_call_and_what_is_finished_is_kept(long_line, tmp_path):
    job, whole = long_line
    words = ["batch", str(job.scene), "--model", str(job.model), *OPTIONS, "--mosaic", "none"]
    words += ["--out", str(tmp_path / "maps")]
    log = tmp_path / "log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    module = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with (
        subprocess.Popen(
            [*module, "--host", "127.0.0.1", "--port", str(port)], **quiet
        ) as scheduler,
        LocalWorker(address, tmp_path),
    ):
        caller = [sys.executable, "-m", "hsimap", *words, "--scheduler", address]
        process = subprocess.Popen(
            [*caller, "--log-json", str(log)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        while process.poll() is None and not (log.exists() and '"strips", ' in log.read_text()):
            time.sleep(0.02)
        scheduler.kill()
        _, said = process.communicate(timeout=200)
    assert process.returncode == 21, said
    assert b"the scheduler is gone" in said
    log.unlink()
    assert run([*words, "--log-json", str(log)]) == 0
    events = [json.loads(line) for line in log.read_text().splitlines()]
    computed = [strip for e in events if e["event"] == "strips" for strip in e["done"]]
    assert 0 < len(computed) < 94
    assert {name: maps(tmp_path / "maps" / "line")[name] for name in whole} == whole


class LocalWorker:
    """A worker process, ended with the block."""

    def __init__(self, address, folder):
        where = ["--local-directory", str(folder), "--death-timeout", "10", "--no-dashboard"]
        self.words = [sys.executable, "-m", "distributed.cli.dask_worker", address, *where]
        self.words += ["--nthreads", "1", "--no-nanny", "--memory-limit", "0"]

    def __enter__(self):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(self.words, **quiet)

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()


def test_an_error_of_any_kind_in_one_line_leaves_the_others(
    campaign, toy_bundle, tmp_path, monkeypatch
):
    from hsimap.flightlines import _campaign

    real = _campaign.map_scene

    def fail(scene, bundle, **options):
        if options["out"].name.startswith("line1"):
            raise RuntimeError("out of luck")
        return real(scene, bundle, **options)

    monkeypatch.setattr(_campaign, "map_scene", fail)
    assert batch(tmp_path, toy_bundle, campaign, "--mosaic", "none") == 40
    lines = json.loads((tmp_path / "campaign.json").read_text())["lines"]
    assert [line["error"] for line in lines] == [None, "RuntimeError: out of luck", None]
