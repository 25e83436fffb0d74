"""Lines as jobs of a real SLURM, some of which are cancelled; skipped where none answers."""

import shutil
import subprocess

import dask
import pytest

from hsimap.errors import UsageError
from hsimap.flightlines import SpreadSettings, map_lines
from hsimap.mapping import MapSettings
from hsimap.mapping.parts import LineJob
from hsimap.products import verify_folder

SMALL = MapSettings(runtime="onnx", threads=1, tile=16, trim=2, ramp=4)
NAME = "hsimap-test"


def ask(*words):
    """Return the lines that one of SLURM's commands prints; none where it fails."""
    if shutil.which(words[0]) is None:
        return []
    found = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return found.stdout.split() if found.returncode == 0 else []


PARTITIONS = ask("sinfo", "--noheader", "--states=idle,mixed", "--format=%R")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PARTITIONS, reason="no SLURM answers here (sinfo), or it has no room"),
    pytest.mark.skipif(shutil.which("sbatch") is None, reason="no sbatch here"),
]


@pytest.fixture
def site(tmp_path):
    """What a site says of its jobs in jobqueue.yaml."""
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is an extra (cluster)")
    told = {
        "cores": 1,
        "memory": "1GB",
        "job-cpu": 1,
        "queue": PARTITIONS[0],
        "walltime": "00:10:00",
        "name": NAME,
        "log-directory": str(tmp_path),
        "local-directory": str(tmp_path),
        "worker-extra-args": ["--memory-limit", "0"],
        "scheduler-options": {"dashboard_address": ":0"},
    }
    names = {f"jobqueue.slurm.{key}": value for key, value in told.items()}
    with dask.config.set({**names, "distributed.deploy.lost-worker-timeout": "2s"}):
        yield
    assert ask("squeue", "--noheader", f"--name={NAME}", "--states=RUNNING", "--format=%i") == []


def maps(folder):
    assert verify_folder(folder) == []
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != "manifest.json"}


def test_jobs_that_are_cancelled_change_no_byte(site, write_scene, toy_bundle, tmp_path):
    scene = tmp_path / "line.tif"
    write_scene(scene, height=1500, width=60)
    jobs = [
        LineJob(scene=scene, model=toy_bundle.path, settings=SMALL, out=tmp_path / name)
        for name in ("alone", "slurm")
    ]
    (alone,) = map_lines(jobs[:1], SpreadSettings(), tell=lambda event, facts: None)
    runs, cancelled = [], []

    def cancel(event, facts):
        if event == "strips":
            runs.append(facts["done"])
            if len(runs) in {1, 3}:  # one of the jobs, and later all of them
                found = ask("squeue", "--noheader", f"--name={NAME}", "--format=%i")
                cancelled.append(found if len(runs) > 1 else found[:1])
                subprocess.run(["scancel", *cancelled[-1]], check=True)

    spread = SpreadSettings(scheduler="slurm", workers=2)
    (result,) = map_lines(jobs[1:], spread, tell=cancel)
    assert (alone.error, result.error) == (None, None)
    assert len(cancelled) == 2
    assert cancelled[1]
    assert sorted(strip for run in runs for strip in run) == list(range(94))
    assert maps(tmp_path / "slurm") == maps(tmp_path / "alone")


def test_a_job_that_is_refused_is_told(site, write_scene, toy_bundle, tmp_path):
    write_scene(tmp_path / "line.tif")
    job = LineJob(
        scene=tmp_path / "line.tif", model=toy_bundle.path, settings=SMALL, out=tmp_path / "maps"
    )
    with (
        dask.config.set({"jobqueue.slurm.queue": "no-such-queue"}),
        pytest.raises(UsageError, match=r"SLURM takes no such job: .*partition"),
    ):
        list(map_lines([job], SpreadSettings(scheduler="slurm", workers=2), tell=print))
