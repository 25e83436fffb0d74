"""Peak memory over the length of a scene.

    python benchmarks/memory.py --model MODEL [--memory 1.5GiB] [--rows 4096 16384 32768]

Maps raw ENVI scenes of 1024 columns whose file is a hole: the disk gives zeros and holds none.
Prints the peaks of the process tree without file-backed pages, one a round, and what the plan
estimated. Which pieces are held at the same time is chance: peaks of the same run scatter by a
twelfth. Exits with 1 if a scene 8 times as long takes more than 5 % more in the median, or if any
run exceeds the budget or its estimate.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from engine import timed

from hsimap.bundle import Bundle
from hsimap.cli._progress import parse_bytes

COLUMNS = 1024
GROWTH = 1.05


def write_hole(path: Path, rows: int, bands: int, wavelengths: tuple[float, ...] | None) -> Path:
    """Write the header of a BIL scene of int16 and a file of its size that holds nothing."""
    header = [
        "ENVI", f"samples = {COLUMNS}", f"lines = {rows}", f"bands = {bands}", "header offset = 0",
        "file type = ENVI Standard", "data type = 2", "interleave = bil", "byte order = 0",
    ]  # fmt: skip
    if wavelengths is not None:
        listed = ", ".join(f"{value:g}" for value in wavelengths)
        header += ["wavelength units = Nanometers", f"wavelength = {{{listed}}}"]
    path.with_suffix(".hdr").write_text("\n".join(header) + "\n")
    with path.open("wb") as file:
        file.truncate(rows * COLUMNS * bands * np.dtype(np.int16).itemsize)
    return path


def main() -> None:
    """Map scenes of rising length and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--memory", default="1.5GiB")
    parser.add_argument("--rows", type=int, nargs="+", default=(4096, 16384, 32768))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    wanted = Bundle.load(options.model).manifest.input
    peaks, estimates = [], []
    print("| rows | wall s | peak MiB | estimate MiB |\n|---|---|---|---|")
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            scene = Path(folder) / "hole.img"
            write_hole(scene, rows, wanted.n_bands, wanted.wavelength_nm)
            arguments = ["--model", str(options.model), "--out", f"{folder}/maps", "--quiet"]
            arguments += ["--memory", options.memory, "--probabilities", "none"]
            command = [sys.executable, "-m", "hsimap", "predict", str(scene), *arguments]
            found = []
            for _ in range(options.rounds):
                shutil.rmtree(f"{folder}/maps", ignore_errors=True)
                found.append(timed(command, {}))
            manifest = next(Path(folder, "maps").rglob("manifest.json")).read_text()
        peaks.append([run["mib"] for run in found])
        estimates.append(json.loads(manifest)["plan"]["memory_bytes"] / 2**20)
        wall, told = median(run["wall"] for run in found), ", ".join(f"{p:.0f}" for p in peaks[-1])
        print(f"| {rows} | {wall:.1f} | {told} | {estimates[-1]:.0f} |", flush=True)
    budget = parse_bytes(options.memory) / 2**20
    over = any(max(runs) > estimate for runs, estimate in zip(peaks, estimates, strict=True))
    grown = median(peaks[-1]) > GROWTH * median(peaks[0])
    if max(map(max, peaks)) > budget or grown or over:
        print(f"too much: {peaks} MiB, budget {budget:.0f}, growth up to {GROWTH}, {estimates}")
        sys.exit(1)


if __name__ == "__main__":
    main()
