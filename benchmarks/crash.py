"""Kill a run at many points of its journal and at every step of its end; resume; compare bytes.

    python benchmarks/crash.py [--points 20]

The scene is ``sample_data/scene.tif``, the model ``models/boreal-demo``. A row of the table is one
kill: strips that were kept and computed again, tile rows run for them, seconds of the resumed run,
and whether every file but ``manifest.json`` has the bytes of an uninterrupted run. The exit code is
1 if one has not, or if a point was not reached.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "faults"))
from harness import Killer, Run, call, contents, journalled  # noqa: E402  # after the path

from hsimap.crashpoints import CRASH_POINTS  # noqa: E402  # after the path
from hsimap.products import MANIFEST  # noqa: E402  # after the path

RUN = Run(
    arguments=(
        "predict", str(ROOT / "sample_data" / "scene.tif"),
        "--model", str(ROOT / "models" / "boreal-demo"), "--probabilities", "none",
        "--runtime", "onnx", "--threads", "1", "--tile", "16", "--trim", "24", "--ramp", "8",
    ),
    stem="scene",
)  # fmt: skip
PER_STRIP = ("strip-written", "strip-durable", "strip-journalled")


def journal_points(n: int, strips: int) -> list[str]:
    """Spread ``n`` kills over the journal, in turn before, between and after its writes."""
    at = [1 + round(i * (strips - 1) / max(n - 1, 1)) for i in range(n)]
    return [f"{PER_STRIP[i % 3]}:{strip}" for i, strip in enumerate(at)]


def kill_and_resume(
    killer: Killer, point: str, out: Path, whole: dict[str, bytes]
) -> dict[str, object]:
    """Return one row of the table."""
    reached = killer.reaches(point, RUN.command(out))
    folder = RUN.folder(out)
    kept = len(journalled(folder))
    done = (folder / MANIFEST).exists()
    hidden = done or contents(folder).items() <= whole.items()
    code = call("verify", str(folder))[0]
    started = time.monotonic()
    exit_code, told = RUN.finished(out)
    seconds = time.monotonic() - started
    rows = sum(int(str(event["tile_rows"])) for event in told if event["event"] == "resume")
    return {
        "point": point,
        "reached": reached,
        "finished": done,
        "kept": kept,
        "computed": sum(event["event"] == "strip" for event in told),
        "tile rows": rows,
        "seconds": round(seconds, 2),
        "sound": hidden
        and code == (0 if done else 30)
        and exit_code == 0
        and contents(folder) == whole,
    }


def lost(row: dict[str, object], strips: int) -> bool:
    """Say whether a row lost more than one strip and one tile row."""
    name, _, number = str(row["point"]).partition(":")
    written = {"run-opened": 0}.get(name, int(number) if name in PER_STRIP else strips)
    unfinished = not row["finished"]
    return unfinished and (
        int(str(row["kept"])) < written - 1
        or int(str(row["computed"])) != strips - int(str(row["kept"]))
        or int(str(row["tile rows"])) > int(str(row["computed"])) + 1
    )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=20, help="kills among the strips")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hsimap-crash-") as name, Killer() as killer:
        base = Path(name)
        started = time.monotonic()
        _, told = RUN.finished(base / "whole")
        seconds = time.monotonic() - started
        strips = int(str(told[-1]["strips"]))
        whole = contents(RUN.folder(base / "whole"))
        steps = [point for point in CRASH_POINTS if point not in PER_STRIP]
        points = [*journal_points(asked.points, strips), *steps]
        bad = 0
        print(f"\n{strips} strips, {len(whole)} files, {seconds:.2f} s uninterrupted\n")
        for i, point in enumerate(points):
            row = kill_and_resume(killer, point, base / str(i), whole)
            if not i:
                print("|", " | ".join(row), "|")
                print("|---" * len(row) + "|")
            print("|", " | ".join(str(value) for value in row.values()), "|", flush=True)
            bad += not row["reached"] or not row["sound"] or lost(row, strips)
    print(f"\n{len(points)} kills, {bad} of them with a fault")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
