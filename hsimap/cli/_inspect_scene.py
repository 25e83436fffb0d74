"""What ``hsimap inspect`` says of a scene, alone and beside a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hsimap.errors import OutputExistsError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from hsimap.bundle import Bundle
    from hsimap.scenes import Scene, Survey

PICTURES: Final = (".png", ".jpg", ".jpeg", ".pdf", ".svg")


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneOptions:
    """What a user asks of a scene."""

    model: Path | None = None
    quicklook: Path | None = None
    scale: float | None = None
    nodata: float | None = None
    overwrite: bool = False

    def check(self) -> None:
        """Refuse a picture that cannot be written, before the scene is read."""
        path = self.quicklook
        if path is None:
            return
        if path.suffix.lower() not in PICTURES:
            raise UsageError(f"--quicklook ends in {', '.join(PICTURES)}; got {path}")
        if path.exists() and not self.overwrite:
            raise OutputExistsError(f"{path} exists; use --overwrite or name another --quicklook")
        if not path.absolute().parent.is_dir():
            raise UsageError(f"the folder of --quicklook {path} does not exist; make it first")


def inspect_scene(path: Path, options: SceneOptions) -> dict[str, object]:
    """Return what there is to say of a scene; draw it if that is asked for.

    Raises
    ------
    HsimapError
        If the scene or the model cannot be read, or the picture not be written.
    """
    from hsimap.bundle import Bundle
    from hsimap.scenes import open_scene, survey

    options.check()
    bundle = None if options.model is None else Bundle.load(options.model)
    with open_scene(path, nodata=options.nodata, scale=options.scale) as scene:
        looked = survey(scene)
        facts = {**_scene(scene), **_pixels(looked, known=scene.scale is not None)}
        if bundle is not None:
            facts |= _beside(scene, bundle)
        if options.quicklook is not None:
            facts["quicklook"] = str(options.quicklook)
            facts["colours"] = _draw(scene, looked, bundle, options.quicklook)
        facts["notes"] = list(scene.notes)
        facts["spectrum"] = _spectrum(scene, looked)
        return facts


def lines_of(facts: dict[str, object]) -> dict[str, object]:
    """Return the facts that are read by people: all but the table of bands."""
    return {key: value for key, value in facts.items() if key != "spectrum"}


def _scene(scene: Scene) -> dict[str, object]:
    from hsimap.scenes import measure_read

    storage, speed = scene.storage, measure_read(scene)
    nm, widths = scene.bands.wavelength_nm, scene.bands.fwhm_nm
    grid = scene.grid
    return {
        "scene": scene.name,
        "files": [path.name for path in scene.files],
        "size": f"{grid.height} rows x {grid.width} columns x {scene.bands.n} bands",
        "type": str(scene.dtype),
        "wavelengths": f"{min(nm):g} to {max(nm):g} nm" if nm else "not stated",
        "band_widths": f"{min(widths):g} to {max(widths):g} nm" if widths else "not stated",
        "bad_bands": scene.bands.n - sum(scene.bands.good),
        "reflectance_scale": "not stated" if scene.scale is None else f"{scene.scale:g}",
        "nodata": "not stated" if scene.nodata is None else f"{scene.nodata:g}",
        "crs": (grid.crs or "none").split('"')[1] if grid.crs else "none",
        "transform": " ".join(f"{value:.10g}" for value in tuple(grid.transform)[:6]),
        "rotated": bool(grid.transform.b or grid.transform.d),
        "angles": sorted(scene.layers) or "none",
        "driver": storage.driver,
        "interleave": storage.interleave,
        "block": f"{storage.block[0]} rows x {storage.block[1]} columns",
        "compression": storage.compression,
        "read_speed": f"{speed.mb_per_s:.0f} MB/s, {speed.mpx_per_s:.2f} million pixels/s"
        f" ({speed.megabytes:.0f} MB read)",
        "layout": storage.advice(grid.width) or "good",
    }


def _pixels(looked: Survey, *, known: bool) -> dict[str, object]:
    """Return what the sampled pixels are like; ``known`` = the scale is."""
    odd = "reflectance below 0 or above 1.5, or saturated" if known else "saturated; scale unknown"
    return {
        "pixels_looked_at": looked.pixels,
        "missing": f"{looked.missing:.1%} in all good bands, {looked.partly_missing:.1%} in some",
        "all_zero": f"{looked.all_zero:.1%}",
        "out_of_range": f"{looked.out_of_range:.1%} of the valid, in a good band ({odd})",
        "bands_without_data": sum(value is None for value in looked.mean),
    }


def _spectrum(scene: Scene, looked: Survey) -> dict[str, object]:
    """Return the bands in file order, as lists."""
    bands = scene.bands
    return {
        "wavelength_nm": bands.wavelength_nm,
        "fwhm_nm": bands.fwhm_nm,
        "good": bands.good,
        "mean_stored": looked.mean,
    }


def _beside(scene: Scene, bundle: Bundle) -> dict[str, object]:
    """Return how a model would take the scene; what it would refuse is said and not raised."""
    from hsimap.errors import HsimapError
    from hsimap.mapping import MapSettings
    from hsimap.mapping.adapter import SceneAdapter
    from hsimap.mapping.prepare import compare_with, plan_scene
    from hsimap.spectra import match_table

    facts: dict[str, object] = {"model": bundle.manifest.name}
    wanted = bundle.manifest.input
    try:
        adapter = SceneAdapter(scene, wanted, resample="auto")
    except HsimapError as error:
        return facts | {"match": f"does not fit: {error}", "exit_code": error.exit_code}
    facts["match"] = list(match_table(wanted.bands, adapter.match))
    scale = adapter.scale
    facts["scale_used"] = "none" if scale is None else f"{scale:g}"
    facts["assumed"] = [note for note in adapter.notes if note not in scene.notes]
    found = compare_with(adapter, wanted)
    if found is None:
        facts["radiometry"] = "not compared: the model states no mean spectrum, or too few pixels"
    else:
        told: dict[str, Any] = found.as_dict()
        facts["radiometry"] = [f"{key.replace('_', ' ')} {value}" for key, value in told.items()]
        facts["verdict"] = _verdict(found.faults(), found.warnings())
    plan = plan_scene(scene, adapter, bundle, MapSettings())
    facts["tiles"] = (
        f"{plan.tiles.n_rows} x {plan.tiles.n_cols} of {plan.tiles.kept} px, trim"
        f" {plan.tiles.trim} px, ramp {plan.tiles.ramp} px; {plan.tiles.ratio:.2f} pixels computed"
        " a pixel"
    )
    facts["memory"] = f"{plan.memory_bytes / 2**20:.0f} MiB"
    return facts


def _verdict(faults: tuple[str, ...], warnings: tuple[str, ...]) -> str | list[str]:
    if faults:
        return [f"predict stops (exit 11): {fault}" for fault in faults]
    return [f"predict warns: {warning}" for warning in warnings] or "looks like the training scenes"


def _draw(scene: Scene, looked: Survey, bundle: Bundle | None, path: Path) -> list[str]:
    from hsimap.products import write_quicklook

    model = None
    wanted = None if bundle is None else bundle.manifest.input
    if wanted is not None and wanted.mean_spectrum is not None:
        ratio = 1.0 if not scene.scale or wanted.scale is None else wanted.scale / scene.scale
        model = (wanted.bands, [value * ratio for value in wanted.mean_spectrum])
    return write_quicklook(path, scene, looked.mean, model=model)
