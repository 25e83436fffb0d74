"""Whole runs of the engine beside another tool, and beside the least the machine could take.

    python benchmarks/engine.py --data FOLDER --harness FOLDER [--rounds 3] [--plot FILE.svg]
                                [--cases tiny:M.tif:onnx unet:M.tif:openvino:bf16 ...]
                                [--peers dask_overlap naive ...]
    python benchmarks/engine.py --redraw engine.json [--plot FILE.svg]

FOLDER holds the scenes and ``models/{tiny,unet}.onnx`` and ``norm.npz`` of a side-by-side harness
whose ``columns/ort_loop.py`` is a plain loop over tiles with ONNX Runtime. In a round, a case is
run by ``hsimap predict`` and by that loop in turn, with the scene dropped from the page cache. Wall
and CPU are of the whole process; memory is the peak of the process tree without file-backed pages.
Ideal is the CPU time of decoding, of the network on the pixels that the plan computes, and of
encoding the files that were written, each measured alone on one core, over the cores, and the
start-up; and the same where each stage is measured on all cores at once, a copy a core, as two
cores at work are slower than one (stages.py). It is measured in each round, right after the run
that it is held against, as the pace of a machine changes; what is told is the median of these
ratios. A case may name a precision: the
network is calibrated on S.tif then, accepted without proof, as its weights are random, and run in
turn with float32 in ONNX Runtime in place of the loop. Peers are further columns of the harness,
each run once a round. Prints tables in
Markdown; raw figures go to --out, from where --redraw makes tables and plot anew.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import yaml

from hsimap.cli._progress import parse_bytes

CASES = ("unet:M.tif:onnx", "tiny:M.tif:onnx", "tiny:M.img:onnx")
CALIBRATION = "S.tif"
LOOP = "ort_loop"
FULL = "hsimap fp32"
CLASSES = {"class_a": 4, "class_b": 2, "class_c": 3}
N_VALUES = 10
ALIGNMENT_AND_REACH = {"tiny": (1, 1), "unet": (4, 24)}
MEMORY = "1.5GiB"
STAGES = ("decode", "forward", "encode", "start")


def make_bundle(data: Path, name: str, folder: Path) -> Path:
    """Import one of the harness's networks; return the model folder."""
    alignment, reach = ALIGNMENT_AND_REACH[name]
    tasks: dict[str, Any] = {
        task: {"kind": "categorical", "classes": {k + 1: f"{task}_{k + 1}" for k in range(n)}}
        for task, n in CLASSES.items()
    }
    outputs: dict[str, Any] = {task: {"from": task, "activation": "softmax"} for task in CLASSES}
    for k in range(N_VALUES):
        tasks[f"value_{k}"] = {"kind": "continuous", "unit": "1"}
        outputs[f"value_{k}"] = {"from": "values", "channel": k}
    norm = str(data / "models" / "norm.npz")
    manifest = {
        "name": f"bench-{name}", "alignment": alignment, "reach": reach, "patch": 64,
        "input": {"graph_input": "x", "bands": 128, "nodata": -9999, "mean": norm, "std": norm},
        "tasks": tasks, "outputs": outputs,
    }  # fmt: skip
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(manifest, sort_keys=False))
    out = folder / f"bench-{name}"
    network = data / "models" / f"{name}.onnx"
    arguments = ["import", str(network), "--manifest", str(path), "--out", str(out)]
    subprocess.run([sys.executable, "-m", "hsimap", *arguments], check=True)  # noqa: S603  # ours
    return out


def forget(scene: Path) -> None:
    """Ask the kernel to drop a scene's pages."""
    for path in scene.parent.glob(f"{scene.stem}.*"):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def anonymous_bytes(pid: int) -> int:
    """Return the memory of a process and its children without file-backed pages."""
    total, waiting = 0, [pid]
    while waiting:
        process = waiting.pop()
        try:
            status = Path(f"/proc/{process}/status").read_text()
            children = Path(f"/proc/{process}/task/{process}/children").read_text()
        except OSError:
            continue
        waiting += map(int, children.split())
        fields = dict(line.split(":", 1) for line in status.splitlines())
        total += 1024 * int(fields.get("RssAnon", "0 kB").split()[0])
    return total


def timed(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Run a command; return wall and CPU seconds and peak memory in MiB."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(  # noqa: S603  # our own programs
            command, env={**os.environ, **environment}, stdout=log, stderr=subprocess.STDOUT
        )
        peak, over = [0], threading.Event()

        def watch() -> None:
            while not over.wait(0.05):
                peak[0] = max(peak[0], anonymous_bytes(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        over.set()
        watcher.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise RuntimeError(f"{command} ended with {process.returncode}: {log.read()[-2000:]}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "mib": peak[0] / 2**20}


def make_reduced(data: Path, model: Path, folder: Path) -> Path:
    """Copy a model folder and accept the reduced precisions that this machine has."""
    out = folder / f"{model.name}-reduced"
    shutil.copytree(model, out)
    arguments = ["export", str(out), "--calibrate", str(data / CALIBRATION), "--accept-unproven"]
    subprocess.run([sys.executable, "-m", "hsimap", *arguments], check=True)  # noqa: S603  # ours
    return out


def run_hsimap(model: Path, scene: Path, out: Path, route: list[str]) -> dict[str, float]:
    """Map a scene by a runtime and a precision; a finished run there is looked at again."""
    forget(scene)
    arguments = ["--model", str(model), "--out", str(out), "--memory", MEMORY, "--quiet"]
    arguments += ["--probabilities", "none", "--runtime", route[0], "--precision", route[1]]
    return timed([sys.executable, "-m", "hsimap", "predict", str(scene), *arguments], {})


def run_column(
    options: argparse.Namespace, column: str, name: str, scene: Path, out: Path
) -> dict[str, float]:
    """Run one of the harness's tools."""
    out.unlink(missing_ok=True)
    forget(scene)
    models = str(options.data / "models")
    arguments = ["--scene", str(scene), "--models", models, "--model", name, "--out", str(out)]
    command = [sys.executable, str(options.harness / "columns" / f"{column}.py"), *arguments]
    environment = {"PYTHONPATH": str(options.harness), "PYTHONDONTWRITEBYTECODE": "1"}
    return timed(command, {**environment, "OMP_NUM_THREADS": str(os.cpu_count())})


def stages(model: Path, scene: Path, maps: Path, route: list[str]) -> dict[str, float]:
    """Measure the stages by themselves: on one core, and on all of them at once."""
    forget(scene)
    command = [sys.executable, str(Path(__file__).with_name("stages.py"))]
    command += [str(model), str(scene), str(maps), MEMORY, *route]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    told = subprocess.run(  # noqa: S603  # our own
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found


def case(options: argparse.Namespace, text: str, folder: Path) -> dict[str, Any]:
    """Run all rounds of one case, ``network:scene:runtime`` or that and a precision."""
    name, scene_name, *route = text.split(":")
    runtime, precision = route if len(route) > 1 else (*route, "fp32")
    route = [runtime, precision]
    scene, maps = options.data / scene_name, folder / "maps"
    model = folder / f"bench-{name}"
    if not model.exists():
        make_bundle(options.data, name, folder)
    plain = model
    if precision != "fp32":
        reduced = folder / f"{model.name}-reduced"
        model = reduced if reduced.exists() else make_reduced(options.data, model, folder)
    ours: list[dict[str, float]] = []
    least: list[dict[str, float]] = []
    columns = (LOOP, *options.peers) if precision == "fp32" else (FULL,)
    others: dict[str, list[dict[str, float]]] = {column: [] for column in columns}
    for _ in range(options.rounds):
        for column, found in others.items():
            if column == FULL:
                shutil.rmtree(maps, ignore_errors=True)
                found.append(run_hsimap(plain, scene, maps, ["onnx", "fp32"]))
            else:
                found.append(run_column(options, column, name, scene, folder / "other.tif"))
        shutil.rmtree(maps, ignore_errors=True)
        ours.append(run_hsimap(model, scene, maps, route))
        least.append(stages(model, scene, maps / scene.stem, route))
        last = {column: found[-1] for column, found in others.items()}
        print(name, scene.name, ours[-1], least[-1], last, file=sys.stderr, flush=True)
    again = run_hsimap(model, scene, maps, route)
    return {"network": ", ".join([name, *text.split(":")[2:]]), "scene": scene.name, "hsimap": ours,
            "beside": others, "second_call": again, "stages": least}  # fmt: skip


def ideal_of(stages: dict[str, Any], cores: int, *, busy: bool = False) -> float:
    """Return the seconds that a run would take if every core did useful work all the time.

    At the pace of a core that works alone, or at that of cores that are all ``busy``.
    """
    seconds = stages["busy"] if busy else stages
    return sum(seconds[key] for key in STAGES[:3]) / cores + stages["start"]


def row(result: dict[str, Any], cores: int) -> str:
    """Return a line of the table."""
    wall, cpu, peak = (
        median(run[key] for run in result["hsimap"]) for key in ("wall", "cpu", "mib")
    )
    rival = result["beside"].get(LOOP) or result["beside"][FULL]
    loop, other = (median(run[key] for run in rival) for key in ("wall", "mib"))
    alone = result["stages"][0]
    ideals = [ideal_of(stage, cores) for stage in result["stages"]]
    busy = [ideal_of(stage, cores, busy=True) for stage in result["stages"]]
    over, over_busy = (
        median(run["wall"] / ideal for run, ideal in zip(result["hsimap"], found, strict=True))
        for found in (ideals, busy)
    )
    cells = [
        result["network"], result["scene"], f"{wall:.1f}", f"{cpu:.1f}",
        f"{alone['mpx'] / wall:.2f}", f"{median(ideals):.1f}",
        f"{over:.2f}", f"{median(busy):.1f}", f"{over_busy:.2f}",
        f"{loop:.1f}", f"{wall / loop:.2f}",
        f"{alone['ratio']:.3f}", f"{peak:.0f}", f"{other:.0f}",
        f"{result['second_call']['wall']:.1f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def round_rows(results: list[dict[str, Any]], cores: int) -> list[str]:
    """Return a line for each round: what the ideal is made of, and what the run took."""
    lines = []
    for result in results:
        for run, stage in zip(result["hsimap"], result["stages"], strict=True):
            cells = [result["network"], result["scene"], *(f"{stage[key]:.1f}" for key in STAGES)]
            ideal = ideal_of(stage, cores)
            cells += [f"{ideal:.1f}", f"{run['wall']:.1f}", f"{run['wall'] / ideal:.2f}"]
            ideal = ideal_of(stage, cores, busy=True)
            cells += [f"{stage['busy'][key]:.1f}" for key in STAGES[:3]]
            cells += [f"{ideal:.1f}", f"{run['wall'] / ideal:.2f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def peer_rows(results: list[dict[str, Any]]) -> list[str]:
    """Return the lines of the table of all tools."""
    lines = []
    for result in results:
        tools = {"hsimap": result["hsimap"], **result["beside"]}
        for tool, runs in tools.items():
            wall, cpu, peak = (median(run[key] for run in runs) for key in ("wall", "cpu", "mib"))
            cells = [result["network"], result["scene"], tool]
            cells += [f"{wall:.1f}", f"{cpu:.1f}", f"{peak:.0f}", f"{len(runs)}"]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = (line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": next(model, platform.machine()), "cores": os.cpu_count(),
        "memory_gib": memory / 2**30, "date": time.strftime("%Y-%m-%d"),
        "hsimap": version("hsimap"),
    }  # fmt: skip


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the cases; write what is there after each of them."""
    measured = {"machine": machine(), "budget_mib": parse_bytes(MEMORY) / 2**20, "cases": []}
    with tempfile.TemporaryDirectory(dir=options.data) as scratch:
        for text in options.cases:
            measured["cases"].append(case(options, text, Path(scratch)))
            options.out.write_text(json.dumps(measured, indent=1) + "\n")
    return measured


HEAD = (
    "| network | scene | wall s | CPU s | Mpx/s | ideal s | wall / ideal"
    " | ideal s, cores busy | wall / that | loop or fp32 s | wall / that"
    " | computed / mapped | peak MiB | its MiB | second call s |\n" + "|---" * 15 + "|"
)


ROUNDS = (
    "| network | scene | decode | network | encode | start | ideal s | wall s | wall / ideal"
    " | decode, cores busy | network | encode | ideal s | wall / that |\n" + "|---" * 14 + "|"
)
PEERS = "| network | scene | tool | wall s | CPU s | peak MiB | rounds |\n" + "|---" * 7 + "|"


def absolute(text: str) -> Path:
    """Return a path that other working folders understand, too."""
    return Path(text).resolve()


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=absolute)
    parser.add_argument("--harness", type=absolute)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--peers", nargs="*", default=())
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--out", type=Path, default=Path("engine.json"))
    parser.add_argument("--redraw", type=Path)
    options = parser.parse_args()
    if options.redraw is None and None in {options.data, options.harness}:
        parser.error("--data and --harness say what to measure; or name a measurement in --redraw")
    if options.redraw is None:
        measured = measure(options)
    else:
        measured = json.loads(options.redraw.read_text())
    results = measured["cases"]
    print(HEAD)
    print("\n".join(row(result, measured["machine"]["cores"]) for result in results))
    print(f"\n{ROUNDS}")
    print("\n".join(round_rows(results, measured["machine"]["cores"])))
    print(f"\n{PEERS}")
    print("\n".join(peer_rows(results)))
    if options.plot:
        from engine_plot import plot  # noqa: PLC0415  # only where a plot is wanted

        plot(measured, options.plot)


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
