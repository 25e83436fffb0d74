"""A campaign on one and on two workers: time, bytes, kills, and the mosaic beside the truth.

    python benchmarks/campaign.py --model MODEL [--lines 12] [--size 2000] [--threads 1] [--pin]

Writes a simulated campaign of N lines over a forest of --size pixels (or takes --campaign FOLDER),
then maps it with ``hsimap batch``: in one process, with one dask worker, and with two; with --pin
the processes may use as many cores as there are workers, so that each has one. A last run of two
workers has one worker killed twice. Every map must have the same bytes in all runs. The accuracy of
the mosaic, and of each line where lines overlap or not, is measured on the truth of the forest, and
the peak memory of the mosaic over a third of the lines and over all. Figures go to --out as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import rasterio
from rasterio.vrt import WarpedVRT

CLASSES = ("fertility_class", "soil_class", "main_tree_species_class")


def hsimap(*arguments: object, cores: int | None = None) -> subprocess.Popen[bytes]:
    """Start a command, on so many cores at most."""
    command = [sys.executable, "-m", "hsimap", *map(str, arguments)]
    if cores is not None:
        command = ["taskset", "-c", f"0-{cores - 1}", *command]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  # our own command


def peak_of(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process; return the most memory it held without file-backed pages, in bytes."""
    most = 0
    while process.poll() is None:
        try:
            info = psutil.Process(process.pid).memory_info()
            most = max(most, info.rss - info.shared)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    return most


def digests(folder: Path) -> dict[str, str]:
    """Return the hash of every map and style of a campaign."""
    files = [p for p in sorted(folder.rglob("*")) if p.suffix in {".tif", ".qml", ".png", ".csv"}]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def kill_twice(process: subprocess.Popen[bytes], log: Path) -> int:
    """Kill a worker when two and when six runs of strips are in; return how many were killed."""
    killed = 0
    while process.poll() is None and killed < 2:
        done = log.read_text().count('"event": "strips"') if log.exists() else 0
        if done >= (2, 6)[killed]:
            children = psutil.Process(process.pid).children(recursive=True)
            workers = [p for p in children if "spawn_main" in " ".join(p.cmdline())]
            if workers:
                workers[0].send_signal(signal.SIGKILL)
                killed += 1
        time.sleep(0.05)
    return killed


def timed(
    lines: list[Path], out: Path, options: list[object], *, cores: int | None, kill: bool
) -> dict[str, Any]:
    """Run one batch; return its seconds and how many workers were killed."""
    log = out.with_suffix(".log")
    started = time.monotonic()
    process = hsimap("batch", *lines, "--out", out, "--log-json", log, *options, cores=cores)
    killed = kill_twice(process, log) if kill else 0
    if process.wait():
        raise SystemExit(f"hsimap batch ended with {process.returncode}")
    return {"seconds": round(time.monotonic() - started, 2), "killed": killed}


def accuracy(map_path: Path, truth: Path, band: int) -> tuple[int, int]:
    """Return the pixels of a class map that agree with the truth below, and all that it has."""
    with rasterio.open(map_path) as found, rasterio.open(truth) as known, WarpedVRT(
        found, crs=known.crs, transform=known.transform, width=known.width, height=known.height,
        nodata=255,
    ) as there:  # fmt: skip
        codes, expected = there.read(1), known.read(band)
    seen = (codes != 255) & (expected != 0)
    return int((codes == expected)[seen].sum()), int(seen.sum())


def accuracies(out: Path, lines: list[Path], truth: Path) -> dict[str, dict[str, float]]:
    """Return the share of right pixels of the mosaic and of all lines, class map by class map."""
    with rasterio.open(truth) as file:
        names = list(file.descriptions)
    shares = {}
    for name in CLASSES:
        if name not in names:
            continue
        band = names.index(name) + 1
        whole = accuracy(out / "mosaic" / f"{name}.tif", truth, band)
        parts = [accuracy(line / f"{name}.tif", truth, band) for line in lines]
        right, n = (sum(part[k] for part in parts) for k in (0, 1))
        shares[name] = {"mosaic": whole[0] / whole[1], "lines": right / n}
    return shares


def flat(lines: list[Path], folder: Path) -> dict[str, float]:
    """Return the mosaic's peak memory over a third of the lines and over all, in MiB."""
    peaks = {}
    for n in (max(len(lines) // 3, 1), len(lines)):
        process = hsimap("mosaic", *lines[:n], "--out", folder / f"mosaic_{n}", "--quiet")
        peaks[f"{n} lines"] = round(peak_of(process) / 2**20, 1)
    return peaks


def measure(asked: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Write the campaign, run every case, and return all figures."""
    campaign = asked.campaign or root / "campaign"
    if asked.campaign is None:
        size = ("--campaign", asked.lines, "--size", asked.size)
        hsimap("sample", campaign, *size, "--format", "envi").wait()
    scenes = [p for p in sorted(campaign.glob("line_*/scene.*")) if p.suffix in {".bil", ".tif"}]
    options: list[object] = ["--model", asked.model, "--threads", asked.threads, "--quiet"]
    options += ["--tile", asked.tile] if asked.tile else []
    figures: dict[str, Any] = {"lines": len(scenes), "cores": os.cpu_count()}
    cases = {"one": (1, False), "two": (2, False), "two_killed": (2, True)}
    for case, (workers, kill) in cases.items():
        cores, out = workers if asked.pin else None, root / case
        found = timed(scenes, out, [*options, "--workers", workers], cores=cores, kill=kill)
        figures[case] = found
        print(case, found, flush=True)
    bytes_of = {case: digests(root / case) for case in cases}
    figures["same_bytes"] = bytes_of["one"] == bytes_of["two"] == bytes_of["two_killed"]
    figures["files"] = len(bytes_of["one"])
    figures["ratio"] = round(figures["two"]["seconds"] / figures["one"]["seconds"], 3)
    folders = [p for p in sorted((root / "one").iterdir()) if p.name.startswith("line_")]
    figures["accuracy"] = accuracies(root / "one", folders, campaign / "truth" / "classes.tif")
    figures["mosaic_peak_mib"] = flat(folders, root)
    mosaic = json.loads((root / "one" / "campaign.json").read_text())["mosaic"]
    return {**figures, "agreement": mosaic["agreement"], "mosaic_seconds": mosaic["seconds"]}


def main() -> None:
    """Run everything and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=12)
    parser.add_argument("--size", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tile", type=int)
    parser.add_argument("--pin", action="store_true")
    parser.add_argument("--campaign", type=Path)
    parser.add_argument("--out", type=Path, default=Path("campaign.json"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = measure(asked, Path(name))
    asked.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
