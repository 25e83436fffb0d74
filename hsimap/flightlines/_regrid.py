"""One line's maps on another grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsimap.flightlines._compose import MosaicSettings
from hsimap.flightlines._mosaic import MosaicReport, mosaic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Progress = Callable[[int, int], None]


def regrid(
    folder: Path,
    out: Path,
    *,
    template: Path | None,
    shares: bool = True,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,  # noqa: ARG005  # a silent default
) -> MosaicReport:
    """Put finished maps on another grid; resume where that was interrupted.

    Values and probabilities are bilinear among valid pixels, the class is that of the highest
    resampled probability, flags are those of the nearest pixel. A pixel has a value where the
    nearest pixel has one.

    Parameters
    ----------
    folder : Path
        Maps of one scene, with all probabilities.
    out : Path
        Where the maps on the other grid go.
    template : Path or None
        Raster whose grid is taken; None = north-up in the scene's reference system, with pixels of
        its size at multiples of that size.
    shares : bool
        Whether probabilities are written.
    overwrite : bool
        Replace other maps.
    progress : callable
        Called with the number of finished and of all strips.

    Raises
    ------
    MismatchError
        If the maps do not lie on the template.
    UsageError, OutputExistsError, LockedError, StorageError, VerificationError
        See :func:`mosaic`.
    """
    settings = MosaicSettings(template=template, overwrite=overwrite, alone=True, shares=shares)
    return mosaic([folder], out, settings=settings, progress=progress)
