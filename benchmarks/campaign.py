"""A campaign on one and on two processes: time, bytes, kills, and the mosaic beside the truth.

    python benchmarks/campaign.py --model models/boreal-demo --out campaign.json
    python benchmarks/campaign.py --model MODEL --only time --pin

Writes a simulated campaign (or takes --campaign FOLDER) and maps it with ``hsimap batch``: in one
process, on two workers, on two workers of which one is killed twice, and on a cluster whose
scheduler is killed, after which the same command is run again. Every map of a line must have the
same bytes in all runs. The first run makes the mosaic, too, which is held against the truth of the
forest, its steps at the borders of lines against its own table of agreement; its peak memory is
taken over four lines and over all. --only time runs one and two workers and nothing else; with
--pin the processes may use as many cores as there are workers. Figures go to --out as JSON; --work
keeps the maps, and a case that lies there finished is not run again, so that --only CASE may run
them one by one.
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

import numpy as np
import psutil
import rasterio

SUFFIXES = {".tif", ".qml", ".png", ".csv", ".qgs", ".gpkg", ".xml"}
NO_MOSAIC = ("--mosaic", "none")
CASES = ("one", "two", "killed", "lost")
FEW = 4
"""Lines of the smaller mosaic; they reach as far as all of them."""


def start(*arguments: object, cores: int | None = None) -> subprocess.Popen[bytes]:
    """Start a Python module with arguments, on so many cores at most."""
    command = [sys.executable, "-m", *map(str, arguments)]
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
    """Return the hash of every file of a campaign's lines that must repeat to the byte."""
    files = [p for p in sorted(folder.glob("line_*/*")) if p.suffix in SUFFIXES]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def runs_in(log: Path) -> list[int]:
    """Return the strips of each run that a log tells of: how many."""
    if not log.exists():
        return []
    events = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    return [len(event["done"]) for event in events if event["event"] == "strips"]


def kill_twice(process: subprocess.Popen[bytes], log: Path) -> int:
    """Kill a worker when two and when six runs of strips are in; return how many were killed."""
    killed = 0
    while process.poll() is None and killed < 2:
        if len(runs_in(log)) >= (2, 6)[killed]:
            children = psutil.Process(process.pid).children(recursive=True)
            workers = [p for p in children if "spawn_main" in " ".join(p.cmdline())]
            if workers:
                workers[0].send_signal(signal.SIGKILL)
                killed += 1
        time.sleep(0.05)
    return killed


class Case:
    """One way to map the campaign.

    Parameters
    ----------
    scenes : list of Path
        The lines.
    out : Path
        Where their maps go.
    options : list
        Of ``hsimap batch``.
    """

    def __init__(self, scenes: list[Path], out: Path, options: list[object]) -> None:
        self.out, self.log = out, out.with_suffix(".log")
        self._words = ["hsimap", "batch", *scenes, "--out", out, "--log-json", self.log, *options]

    def begin(self, *options: object, cores: int | None = None) -> subprocess.Popen[bytes]:
        """Start it."""
        self.log.unlink(missing_ok=True)
        return start(*self._words, *options, cores=cores)

    def timed(
        self, *options: object, cores: int | None = None, kill: bool = False
    ) -> dict[str, Any]:
        """Run it; return its seconds and how many workers were killed."""
        started = time.monotonic()
        process = self.begin(*options, cores=cores)
        killed = kill_twice(process, self.log) if kill else 0
        if process.wait():
            raise SystemExit(f"hsimap batch ended with {process.returncode}")
        return {"seconds": round(time.monotonic() - started, 2), "killed": killed}


def journalled(out: Path) -> int:
    """Return how many strips the journals of unfinished lines and the finished lines hold."""
    total = 0
    for path in out.glob("*/.hsimap-run/journal.jsonl"):
        total += sum(line.endswith("}") for line in path.read_text().splitlines())
    for path in out.glob("*/manifest.json"):
        total += json.loads(path.read_text())["plan"].get("strips", 0)
    return total


def scheduler_killed(case: Case) -> dict[str, Any]:
    """Kill the scheduler of a cluster after eight runs of strips; run the same command again."""
    with tempfile.TemporaryDirectory() as name:
        port = 18786
        words = ("--host", "127.0.0.1", "--port", port, "--no-dashboard")
        scheduler = start("distributed.cli.dask_scheduler", *words)
        address = f"tcp://127.0.0.1:{port}"
        alone = ("--nthreads", 1, "--nworkers", 2, "--memory-limit", 0, "--no-dashboard")
        where = ("--local-directory", name, "--death-timeout", 20)
        workers = start("distributed.cli.dask_worker", address, *alone, *where)
        process = case.begin("--scheduler", address, *NO_MOSAIC)
        while process.poll() is None and len(runs_in(case.log)) < 8:
            time.sleep(0.05)
        scheduler.kill()
        code = process.wait()
        workers.terminate()
        workers.wait()
    kept = journalled(case.out)
    case.timed("--workers", 2, *NO_MOSAIC)
    told = json.loads((case.out / "campaign.json").read_text())["lines"]
    again = sum(runs_in(case.log))
    strips = sum(line["strips"] for line in told)
    found = {"exit_code": code, "strips": strips, "kept": kept, "computed_again": again}
    return {**found, "only_the_missing": kept + again == strips}


def places_of(map_path: Path, truth: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return which pixels of a map lie under the truth's, and which of the truth's these are.

    Flat indices; of the truth every second row and column is taken. Both have one CRS.
    """
    with rasterio.open(map_path) as found, rasterio.open(truth) as known:
        rows, cols = np.mgrid[0 : known.height : 2, 0 : known.width : 2]
        change = ~found.transform @ known.transform
        col = np.floor(change.a * (cols + 0.5) + change.b * (rows + 0.5) + change.c).astype(int)
        row = np.floor(change.d * (cols + 0.5) + change.e * (rows + 0.5) + change.f).astype(int)
        inside = (row >= 0) & (row < found.height) & (col >= 0) & (col < found.width)
        here, there = row * found.width + col, rows * known.width + cols
    return here[inside], there[inside]


def errors_of(mapped: np.ndarray, expected: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return right pixels or squared errors, the pixels, and both divided by the lines there."""
    if mapped.dtype == np.uint8:
        seen = (mapped != 255) & (expected != 0)
        off = (mapped == expected)[seen].astype(float)
    else:
        seen = np.isfinite(mapped) & np.isfinite(expected)
        off = (mapped - expected)[seen] ** 2.0
    share = 1.0 / count[seen]
    return np.array([off.sum(), off.size, (off * share).sum(), share.sum()])


def accuracies(out: Path, lines: list[Path], truth: Path) -> dict[str, dict[str, float]]:
    """Return the share of right pixels, or the RMSE, of the mosaic and of the lines.

    ``lines`` is the mean over the lines; ``same_pixels`` that over the mosaic's pixels, where each
    of the lines that see a pixel has an equal part.
    """
    sums: dict[str, list[np.ndarray]] = {}
    count = np.zeros(0)
    for folder in (out / "mosaic", *lines):
        places: tuple[np.ndarray, np.ndarray] | None = None
        for source in ("classes", "variables"):
            with rasterio.open(truth / f"{source}.tif") as known:
                if not count.size:
                    count = np.ones(known.height * known.width)
                    here, there = places_of(folder / "n_obs.tif", Path(known.name))
                    with rasterio.open(folder / "n_obs.tif") as found:
                        count[there] = found.read(1).ravel()[here]
                for band, name in enumerate(known.descriptions, 1):
                    path = folder / f"{name}.tif"
                    if path.exists():
                        places = places or places_of(path, Path(known.name))
                        with rasterio.open(path) as found:
                            mapped = found.read(1).ravel()[places[0]]
                        expected = known.read(band).ravel()[places[1]]
                        told = errors_of(mapped, expected, count[places[1]])
                        sums.setdefault(name, []).append(told)
    return {name: summary(found, is_class=name.endswith("_class")) for name, found in sums.items()}


def summary(found: list[np.ndarray], *, is_class: bool) -> dict[str, float]:
    """Return the figures of one variable: the mosaic's sums first, then each line's."""
    whole, parts = found[0], np.array(found[1:])
    means = [whole[0] / whole[1], parts[:, 2].sum() / parts[:, 3].sum()]
    each = parts[:, 0] / parts[:, 1]
    means, each = (means, each) if is_class else (np.sqrt(means), np.sqrt(each))
    told = {"mosaic": means[0], "lines": each.mean(), "same_pixels": means[1]}
    return {key: float(f"{value:.5g}") for key, value in told.items()}


def steps(mosaic: Path, table: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return, variable by variable, how neighbours differ across a border of lines and elsewhere.

    Of values the root mean square, of classes the share that differs. ``step`` is what a border
    adds: the difference of the squares' root, or of the shares. ``repeat`` is what the table of
    agreement says of the same ground seen twice.
    """
    with rasterio.open(mosaic / "source_line.tif") as file:
        source = file.read(1)
    known = source != 255
    beside = [(np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])]
    pairs = [known[a] & known[b] for a, b in beside]
    across = [both & (source[a] != source[b]) for both, (a, b) in zip(pairs, beside, strict=True)]
    found = {}
    for row in table:
        if row["line_a"] != "all":
            continue
        with rasterio.open(mosaic / f"{row['variable']}.tif") as file:
            values = file.read(1)
        classes = row["rmsd"] is None
        sums = np.zeros((2, 2))
        for (a, b), both, border in zip(beside, pairs, across, strict=True):
            off = (values[a] != values[b]) if classes else (values[a] - values[b]) ** 2.0
            for k, here in enumerate((border, both & ~border)):
                there = off[here]
                there = there[np.isfinite(there)]
                sums[k] += there.sum(), there.size
        border, inside = sums[:, 0] / sums[:, 1]
        if classes:
            told = {"border": border, "inside": inside, "step": border - inside}
            told["repeat"] = 1 - row["agreement"]
        else:
            told = {"border": border**0.5, "inside": inside**0.5, "repeat": row["rmsd"]}
            told["step"] = max(border - inside, 0) ** 0.5
        found[row["variable"]] = {key: float(f"{value:.4g}") for key, value in told.items()}
    return found


def flat(lines: list[Path], folder: Path) -> dict[str, float]:
    """Return the mosaic's peak memory over a few lines that reach as far, and over all, in MiB."""
    few = [lines[round(k * (len(lines) - 1) / (FEW - 1))] for k in range(FEW)]
    peaks = {}
    for chosen in (few, lines):
        n = len(chosen)
        process = start("hsimap", "mosaic", *chosen, "--out", folder / f"mosaic_{n}", "--quiet")
        peaks[f"{n} lines"] = round(peak_of(process) / 2**20, 1)
    return peaks


def judged(case: Case, campaign: Path, root: Path) -> dict[str, Any]:
    """Return what is to be said of a finished campaign's maps."""
    folders = [p for p in sorted(case.out.iterdir()) if p.name.startswith("line_")]
    told = json.loads((case.out / "campaign.json").read_text())["mosaic"]
    return {
        "agreement": told["agreement"],
        "mosaic_size": [told["height"], told["width"]],
        "accuracy": accuracies(case.out, folders, campaign / "truth"),
        "steps": steps(case.out / "mosaic", told["agreement"]),
        "mosaic_peak_mib": flat(folders, root),
    }


def run_case(name: str, case: Case, asked: argparse.Namespace) -> dict[str, Any]:
    """Map the campaign in one of the ways; return its figures."""
    if name == "lost":
        return scheduler_killed(case)
    workers = 1 if name == "one" else 2
    mosaic = () if name == "one" and asked.only != "time" else NO_MOSAIC
    cores = workers if asked.pin else None
    words = ("--workers", workers, *mosaic, *asked.more)
    return case.timed(*words, cores=cores, kill=name == "killed")


def measure(asked: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Write the campaign, run every case, and return all figures."""
    root.mkdir(parents=True, exist_ok=True)
    campaign = asked.campaign or root / "campaign"
    if not campaign.exists():
        size = ("--campaign", asked.lines, "--size", asked.size)
        start("hsimap", "sample", campaign, *size, "--format", "envi").wait()
    scenes = [p for p in sorted(campaign.glob("line_*/scene.*")) if p.suffix in {".bil", ".tif"}]
    options: list[object] = ["--model", asked.model, "--threads", asked.threads, "--quiet"]
    options += ["--tile", asked.tile] if asked.tile else []
    figures: dict[str, Any] = {"lines": len(scenes), "cores": os.cpu_count(), "tile": asked.tile}
    names = {"all": CASES, "time": CASES[:2]}.get(asked.only, (asked.only,))
    cases = {name: Case(scenes, root / name, options) for name in names}
    for name, case in cases.items():
        kept = root / f"{name}.json"
        if not kept.exists():
            kept.write_text(json.dumps(run_case(name, case, asked)))
        figures[name] = json.loads(kept.read_text())
        print(name, figures[name], flush=True)
    if "two" in figures and "one" in figures:
        figures["ratio"] = round(figures["two"]["seconds"] / figures["one"]["seconds"], 3)
    bytes_of = [digests(case.out) for case in cases.values()]
    figures["same_bytes"] = all(one == bytes_of[0] for one in bytes_of[1:])
    figures["files"] = len(bytes_of[0])
    return {**figures, **judged(cases["one"], campaign, root)} if asked.only == "all" else figures


def main() -> None:
    """Run everything and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=12)
    parser.add_argument("--size", type=int, default=3400)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--only", choices=("all", "time", *CASES), default="all")
    parser.add_argument("--pin", action="store_true")
    parser.add_argument("--campaign", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, default=Path("campaign.json"))
    parser.add_argument("more", nargs="*", help="more options of hsimap batch, behind --")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = measure(asked, asked.work or Path(name))
    asked.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
