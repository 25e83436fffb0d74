"""How far tiled maps are from one forward over the whole scene.

    python benchmarks/seams.py [--data FOLDER] [--paper]

The reference is one forward over the scene padded with invalid pixels on the alignment grid, by the
network's reach. Scenes have nodata pixels, single ones and a block; borders and their edges count.
Tiles are of 128 pixels, smaller than any default tile, so that many pixels lie near a seam. Errors
are of valid pixels, in standard deviations of the output, of the worst output of each network.

Networks: the shipped ``boreal-demo`` and ``tiny`` with random weights, whose trim is chosen as
``hsimap train`` does. FOLDER holds ``models/unet.onnx``, ``models/norm.npz`` and ``S.img`` of the
side-by-side harness (see engine.py) and adds its ``unet``. --paper adds the errors and the computed
pixels of ``paper`` with random weights over the trim; takes minutes and 5 GiB. Prints tables in
Markdown. Exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
import xarray as xr
from affine import Affine
from engine import make_bundle
from network_sizes import forest
from safetensors.numpy import save

from hsimap.bundle import WEIGHTS, Bundle, BundleFields, InputSpec, TileDefaults
from hsimap.geometry import Grid, Window, round_up
from hsimap.mapping import MapSettings, SceneAdapter, plan_map
from hsimap.mapping.engine import Engine
from hsimap.mapping.tiling import TilePlan
from hsimap.networks import NetworkSettings, NormalisationSpec, build_network
from hsimap.runtimes import export_onnx, open_runtime
from hsimap.runtimes._memory import activation_bytes
from hsimap.runtimes._torch import load_network
from hsimap.scenes import open_scene, scene_from_array
from hsimap.streams import available_cpus
from hsimap.training._seams import choose_crop, measure_seams

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from hsimap.networks import MappingNetwork
    from hsimap.runtimes import Runtime
    from hsimap.scenes import Scene
    from hsimap.tasks import Output

ROOT: Final = Path(__file__).parents[1]
TILE: Final = 128
DEFAULT_BAR, EXACT_BAR, DOUBLE_BAR = 1e-2, 1e-5, 1e-9
TRIMS: Final = (32, 64, 96, 128, 192)
"""Of ``paper``, in pixels."""
PAPER_SIDE, PAPER_TILE, PAPER_PAD = 384, 192, 256
PRICED: Final = 4096
"""Side in pixels of the scene whose computed pixels are told for each trim of ``paper``."""
HEAD: Final = (
    "| network | scene | route | trim | ramp | computed / mapped | worst output | p99.9 / std"
    " | largest / std | bar |\n" + "|---" * 10 + "|"
)
CURVE: Final = (
    "| trim | p99.9 / std | largest / std | tile and computed / mapped, 4096² at 4 GiB |\n"
    + "|---" * 4
    + "|"
)


class Double:
    """A network in torch and float64."""

    def __init__(self, network: MappingNetwork) -> None:
        self._network = network.double().eval()

    def forward(
        self, image: NDArray[np.generic], valid: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float64]]:
        """Run the network on a batch; see :class:`hsimap.runtimes.Runtime`."""
        tensors = (torch.from_numpy(array.astype(np.float64)) for array in (image, valid))
        with torch.inference_mode():
            results = self._network(*tensors)
        names = (output.name for output in self._network.outputs)
        return {name: result.numpy() for name, result in zip(names, results, strict=True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A network, running, and a scene for it."""

    name: str
    adapter: SceneAdapter
    runtime: Any
    outputs: Sequence[Output]
    step: int
    """Alignment in pixels."""

    def plan(self, tile: int, *, trim: int, ramp: int) -> TilePlan:
        """Lay tiles over the scene."""
        height, width = self.adapter.shape
        return TilePlan(
            height=height, width=width, kept=round_up(tile, self.step),
            trim=round_up(trim, self.step), ramp=ramp, alignment=self.step,
        )  # fmt: skip

    def maps(self, plan: TilePlan) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
        """Map the scene in the type that the network gives."""
        engine = Engine(plan, self.adapter, runtime=self.runtime, outputs=self.outputs)
        shape = self.adapter.shape
        found: dict[str, NDArray[Any]] = {}
        valid = np.zeros(shape, dtype=bool)
        for square in engine.squares(range(plan.n_rows)):
            rows, cols = (
                slice(start, start + plan.kept)
                for start in (square.tile.footprint.row, square.tile.footprint.col)
            )
            valid[rows, cols] = square.valid
            for name, values in square.values.items():
                room = found.setdefault(name, np.zeros((len(values), *shape), values.dtype))
                room[:, rows, cols] = values
        return found, valid

    def whole(self, pad: int) -> dict[str, NDArray[Any]]:
        """Map the scene in one forward."""
        return self.maps(self.plan(max(self.adapter.shape), trim=pad, ramp=0))[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The error of the worst output."""

    output: str
    most: float
    """99.9th percentile over the pixels, in standard deviations."""
    largest: float
    ratio: float
    """Computed over mapped pixels of this scene."""


def compare(case: Case, whole: dict[str, NDArray[Any]], plan: TilePlan) -> Found:
    """Map in tiles and hold it against the whole."""
    tiled, valid = case.maps(plan)
    errors = {}
    for name, values in whole.items():
        difference = np.abs(tiled[name] - values)[:, valid] / values[:, valid].std()
        errors[name] = float(np.quantile(difference, 0.999)), float(difference.max())
    worst = max(errors, key=lambda name: errors[name])
    most, largest = errors[worst]
    return Found(output=worst if largest else "all", most=most, largest=largest, ratio=plan.ratio)


def with_holes(scene: Scene, side: int | None = None) -> Scene:
    """Return a scene in memory with nodata in it, mirrored until it has a side if one is given."""
    grid = scene.grid
    window = Window(row=0, col=0, height=grid.height, width=grid.width)
    values, _ = scene.read_flagged(window)
    nodata = -9999
    values = np.where(values == scene.nodata, nodata, values)
    if side is not None:
        more = [(0, max(0, side - n)) for n in values.shape[1:]]
        values = np.pad(values, [(0, 0), *more], mode="symmetric")[:, :side, :side]
    rng = np.random.default_rng(0)
    values[:, rng.random(values.shape[1:]) < 0.005] = nodata
    values[:, 60:100, 90:150] = nodata
    array = xr.DataArray(values, dims=("band", "y", "x"), name=scene.name)
    array.attrs = {"nodata": nodata, "scale": scene.scale}
    if scene.bands.wavelength_nm is not None:
        array.coords["wavelength"] = "band", np.array(scene.bands.wavelength_nm)
    return scene_from_array(array)


def random_bundle(folder: Path, scene: Scene, preset: str, patch: int) -> Bundle:
    """Save a network of random weights for a scene; the trim is the one that training chooses."""
    torch.manual_seed(0)
    values = scene.read_flagged(Window(row=0, col=0, height=200, width=200))[0].astype(float)
    shown = np.where(values == scene.nodata, np.nan, values)
    mean, std = (tuple(f(shown, axis=(1, 2)).tolist()) for f in (np.nanmean, np.nanstd))
    spec = forest(patch).model_copy(
        update={
            "settings": NetworkSettings(architecture="taiga", preset=preset),
            "normalisation": NormalisationSpec(mean=mean, std=std),
        }
    )
    network = build_network(spec).eval()
    fields = BundleFields(
        name=f"{preset}-random", input=InputSpec(n_bands=spec.n_bands), tasks=spec.tasks,
        outputs=network.outputs, alignment=network.alignment, reach=network.reach, patch=patch,
        tile=TileDefaults(trim=0, ramp=network.alignment, max_tile=1024),
        network=spec.model_dump(mode="json"),
    )  # fmt: skip
    weights = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    files = {WEIGHTS: save(weights)}
    if preset == "paper":
        draft = Bundle.save(folder / f"{preset}-draft", fields, files)
        fields = fields.model_copy(update={"activation_bytes_per_px": activation_bytes(draft)})
        return Bundle.save(folder / preset, fields, files)
    draft = Bundle.save(folder / f"{preset}-draft", fields, files)
    adapter = SceneAdapter(scene, draft.manifest.input)
    runtime = open_runtime(draft, runtime="torch", device="cpu", threads=available_cpus())
    seams = measure_seams(network, runtime, adapter, choose_crop(adapter, adapter.shape))
    tile = TileDefaults(trim=seams.trim, ramp=seams.ramp, max_tile=1024)
    files["network.onnx"] = export_onnx(network)[0]
    return Bundle.save(folder / preset, fields.model_copy(update={"tile": tile}), files)


def case_of(bundle: Bundle, scene: Scene, runtime: Runtime | Double) -> Case:
    """Put a network and a scene together."""
    manifest = bundle.manifest
    return Case(
        name=manifest.name, adapter=SceneAdapter(scene, manifest.input), runtime=runtime,
        outputs=manifest.outputs, step=manifest.alignment,
    )  # fmt: skip


def row(case: Case, route: str, plan: TilePlan, found: Found, bar: float) -> str:
    """Return a line of the table."""
    height, width = case.adapter.shape
    cells = [
        case.name, f"{height} x {width}", route, str(plan.trim), str(plan.ramp),
        f"{found.ratio:.2f}", found.output, f"{found.most:.1e}", f"{found.largest:.1e}",
        f"{bar:.0e}" + ("" if found.most <= bar else " **missed**"),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def rows(bundle: Bundle, scene: Scene) -> Iterator[tuple[str, bool]]:
    """Measure a network on a scene; yield lines of the table and whether the bar is held."""
    manifest = bundle.manifest
    case = case_of(bundle, scene, open_runtime(bundle, runtime="onnx", device="cpu"))
    whole = case.whole(manifest.reach)
    tile = manifest.tile
    for trim, bar in ((tile.trim, DEFAULT_BAR), (manifest.reach, EXACT_BAR)):
        if bar == EXACT_BAR and round_up(trim, case.step) <= tile.trim:
            continue  # the default is the reach
        bar = EXACT_BAR if tile.trim >= manifest.reach else bar  # noqa: PLW2901  # it must be exact
        plan = case.plan(TILE, trim=trim, ramp=tile.ramp)
        found = compare(case, whole, plan)
        yield row(case, "ONNX Runtime, float32", plan, found, bar), found.most <= bar
    if WEIGHTS not in manifest.files:
        return
    case.runtime.close()
    double = case_of(bundle, scene, Double(load_network(bundle)))
    plan = double.plan(TILE, trim=manifest.reach, ramp=0)
    found = compare(double, double.whole(manifest.reach), plan)
    yield row(double, "torch, float64", plan, found, DOUBLE_BAR), found.largest <= DOUBLE_BAR


def curve(bundle: Bundle, scene: Scene) -> Iterator[str]:
    """Yield the errors and the computed pixels of a network over its trim."""
    manifest = bundle.manifest
    case = case_of(bundle, scene, open_runtime(bundle, runtime="torch", device="cpu"))
    whole = case.whole(PAPER_PAD)
    grid = Grid(height=PRICED, width=PRICED, transform=Affine.identity(), crs=None)
    for trim in TRIMS:
        plan = case.plan(PAPER_TILE, trim=trim, ramp=manifest.tile.ramp)
        found = compare(case, whole, plan)
        priced = plan_map(grid, manifest, MapSettings(trim=trim), itemsize=2).tiles
        yield (
            f"| {plan.trim} | {found.most:.1e} | {found.largest:.1e} |"
            f" {priced.kept}, {priced.ratio:.2f} |"
        )


def main() -> None:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--paper", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(available_cpus())
    held = []
    sample = open_scene(ROOT / "sample_data" / "scene.tif")
    demo = Bundle.load(ROOT / "models" / "boreal-demo")
    with tempfile.TemporaryDirectory() as scratch:
        folder, scene = Path(scratch), with_holes(sample)
        cases = [(demo, scene), (random_bundle(folder, scene, "tiny", 64), scene)]
        if options.data is not None:
            unet = Bundle.load(make_bundle(options.data, "unet", folder))
            cases.insert(0, (unet, with_holes(open_scene(options.data / "S.img"))))
        print(HEAD, flush=True)
        for bundle, scene in cases:
            for line, is_held in rows(bundle, scene):
                print(line, flush=True)
                held.append(is_held)
        if options.paper:
            part = with_holes(sample, PAPER_SIDE)
            print(f"\n{CURVE}", flush=True)
            for line in curve(random_bundle(folder, part, "paper", 256), part):
                print(line, flush=True)
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
