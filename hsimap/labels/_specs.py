"""How a recipe names labels, stands and folds."""

from __future__ import annotations

from math import isclose
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from hsimap.config import Settings
from hsimap.errors import UsageError

NO_FOLD: Final = 0
"""Fold code of a pixel that belongs to no fold: unlabelled, or in a buffer between folds."""
TRAIN: Final = 1
VALIDATION: Final = 2
TEST: Final = 3


def _sum_to_one(shares: tuple[float, float, float]) -> tuple[float, float, float]:
    if not isclose(sum(shares), 1, abs_tol=1e-6) or min(shares) < 0 or shares[0] == 0:
        raise ValueError(
            f"shares must be three numbers from 0 to 1 that add up to 1, the first (training)"
            f" above 0, got {list(shares)}"
        )
    return shares


def _at_least_one(number: int | str) -> int | str:
    if isinstance(number, int) and number < 1:
        raise ValueError(f"bands are counted from 1, got {number}")
    return number


Shares = Annotated[tuple[float, float, float], Field(strict=False), AfterValidator(_sum_to_one)]
"""Of training, validation and test."""
BandName = Annotated[int | str, AfterValidator(_at_least_one)]
"""A band's description, or its number from 1, as GDAL and QGIS count."""
Codes = int | Annotated[tuple[int, ...], Field(strict=False)]
FoldCodes = int | str | Annotated[tuple[int | str, ...], Field(strict=False)]


class VectorSource(Settings):
    """Fields that say how vector features lie on a scene's grid."""

    vector: str | None = None
    """GeoPackage, Shapefile or GeoJSON of polygons or points, in any CRS."""
    layer: str | None = None
    """Layer of that file, needed where it has several."""
    field: str | None = None
    """Attribute of the features whose value is taken."""
    buffer: float = 0.0
    """By how much features are grown, or shrunk if negative, in units of the scene's CRS."""
    rule: Literal["majority", "centre", "all_touched"] = "majority"
    """When a pixel takes a polygon's value: majority = the value that covers most of it, by exact
    area; centre = the value at its centre; all_touched = that of the last one that touches it."""
    min_coverage: float = Field(default=0.5, ge=0, le=1)
    """Rule majority: least share of a pixel that its value must cover."""

    def check_source(self, raster: str | None) -> None:
        """Refuse both or neither of raster and vector, and vector fields with a raster.

        Raises
        ------
        ValueError
            For pydantic to report.
        """
        if (raster is None) == (self.vector is None):
            raise ValueError("give exactly one of raster and vector")
        fields = {name: f for name, f in VectorSource.model_fields.items() if name != "vector"}
        given = [name for name, field in fields.items() if getattr(self, name) != field.default]
        if raster is not None and given:
            raise ValueError(f"{' and '.join(given)} belong to vector, not to raster")


class LabelSpec(VectorSource):
    """Labels of one task: a band of a raster on the scene's grid, or a field of vector features."""

    raster: str | None = None
    """GeoTIFF or ENVI file on the scene's grid."""
    band: BandName | None = None
    """Description of the band, or its number from 1. null: the band whose description is the
    task's name, or the only band."""
    nodata: float | None = Field(default=None, allow_inf_nan=True)
    """Stored value that means "no label". null: the value that the file declares. NaN always means
    "no label", and so does 0 in a categorical task without a class of code 0."""
    scale: float | None = None
    """Continuous tasks: value in the task's unit = stored value * scale. null: the scale and the
    offset that the file declares, or 1."""
    ignore: Codes = ()
    """Categorical tasks: codes that mean "no label" here, as of classes too rare to be learned."""
    clip: bool = False
    """Continuous tasks: set labels beyond the task's range to its nearest end. The default keeps
    them as they are."""
    classes: dict[str, int] | None = None
    """Of vector: code of each text in the field, 0 = no label. null: the field holds codes."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.check_source(self.raster)
        if self.vector is not None:
            if self.field is None:
                raise ValueError("vector labels need field: the attribute that holds the label")
            if self.band is not None or self.nodata is not None:
                raise ValueError("band and nodata belong to raster, not to vector")
        elif self.classes is not None:
            raise ValueError("classes belong to vector, not to raster")
        return self


class StandSpec(VectorSource):
    """Stand ids from a raster on the scene's grid, or from polygons."""

    raster: str | None = None
    """GeoTIFF or ENVI file on the scene's grid; whole numbers, 0 = no stand."""
    band: BandName | None = None
    """Description of the band, or its number from 1. null: the only band."""
    exclude: str | None = None
    """Text file of ids that count as no stand: one a line, lines that are no number are skipped."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.check_source(self.raster)
        return self


class BlockSplit(Settings):
    """Folds of whole square blocks, dealt out at random."""

    size: int = Field(ge=1)
    """Side of a block in pixels."""
    buffer: int | Literal["patch"] = Field(default=0)
    """Pixels nearer than this to another fold, or as near, belong to no fold. patch: half of
    training.patch, so that no window round a pixel of one fold holds a labelled one of another."""
    shares: Shares = (0.6, 0.2, 0.2)
    """Shares of the labelled pixels for training, validation and test."""
    seed: int = Field(default=0, ge=0)
    """Which blocks go where."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.buffer == "patch":
            return self
        if self.buffer < 0:
            raise ValueError(f"buffer must not be negative, got {self.buffer}")
        if 2 * self.buffer >= self.size:
            raise ValueError(
                f"buffer {self.buffer} px on both sides leaves nothing of a block of {self.size}"
                f" px; make it less than half the size"
            )
        return self

    def for_patch(self, patch: int) -> BlockSplit:
        """Return the split with its buffer in pixels, for windows of this side.

        Raises
        ------
        UsageError
            If blocks are too small for it.
        """
        if self.buffer != "patch":
            return self
        half = -(-patch // 2)
        if 2 * half >= self.size:
            raise UsageError(
                f"blocks of {self.size} px are too small for a buffer of half a patch of {patch} px"
                f" on both sides; make them larger than {2 * half} px"
            )
        return self.model_copy(update={"buffer": half})


class StandTable(Settings):
    """The fold of each stand from a CSV file with a header line."""

    file: str
    """Comma-separated values, one stand a line; stands that it does not name are in no fold."""
    id: str = "standid"
    """Column of the stand ids."""
    fold: str = "set"
    """Column of the folds."""
    train: str = "training"
    """Text that stands for the training fold; a text of no fold means none."""
    validation: str = "validation"
    """Text that stands for the validation fold."""
    test: str = "test"
    """Text that stands for the test fold."""


class StandSplit(Settings):
    """Folds of whole stands, dealt out at random or read from a table."""

    shares: Shares = (0.6, 0.2, 0.2)
    """Shares of the labelled pixels for training, validation and test."""
    seed: int = Field(default=0, ge=0)
    """Which stands go where."""
    table: StandTable | None = None
    """Instead of dealing: {file, id, fold, train, validation, test}."""


class CellSplit(Settings):
    """Whole square cells, counted from the scene's upper left pixel."""

    size: int = Field(ge=1)
    """Side of a cell in pixels."""
    validation: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training fold's cells that is dealt to the validation fold. Such cells lie side
    by side with training cells, so that the validation scores are too good."""
    seed: int = Field(default=0, ge=0)
    """Which cells validate."""


class SplitSpec(VectorSource):
    """Which pixels train, validate and test: exactly one of raster, field, blocks and stands."""

    raster: str | None = None
    """GeoTIFF or ENVI file on the scene's grid that holds a fold code a pixel."""
    band: BandName | None = None
    """Band of that raster, by description or by number from 1. null: the only band."""
    field: str | None = None
    """Attribute of vector features, of the file in `vector` or else of the one that labels and
    stands name. With shares: features of one value, as of one stand, are dealt out together, over
    the whole file, so that they are in one fold in every scene. Without: it holds fold codes."""
    shares: Shares | None = None
    """Of field: shares of the features' area for training, validation and test."""
    seed: int = Field(default=0, ge=0)
    """Of shares: which features go where."""
    train: FoldCodes = TRAIN
    """Code or text, or a list of them, of the training fold; a code in no fold is in none."""
    validation: FoldCodes = VALIDATION
    """Code or text, or a list of them, of the validation fold."""
    test: FoldCodes = TEST
    """Code or text, or a list of them, of the test fold."""
    blocks: BlockSplit | None = None
    """Square blocks dealt out at random: {size, buffer, shares, seed}."""
    stands: StandSplit | None = None
    """Stands dealt out at random, {shares, seed}, or by a table, {table: {file, ...}}; needs
    `stands` of the scene."""
    cells: CellSplit | None = None
    """Keep of the folds only the square cells that lie in one fold as a whole:
    {size, validation, seed}."""
    require: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Tasks: a pixel that lacks the label of any of them is in no fold."""
    block: int | None = Field(default=None, ge=1)
    """Side in pixels of the squares that standard errors are resampled over. null: the size of
    `blocks`, else 10."""
    context: Literal["share", "mask"] = "share"
    """What a training window shows of the other folds' pixels: share = their spectra (never their
    labels), mask = nothing, they are invalid."""

    @property
    def codes(self) -> dict[int | str, int]:
        """Code in the raster or the field to fold."""
        named = {TRAIN: self.train, VALIDATION: self.validation, TEST: self.test}
        return {
            code: fold
            for fold, codes in named.items()
            for code in ((codes,) if isinstance(codes, int | str) else codes)
        }

    @model_validator(mode="after")
    def _check(self) -> Self:
        forms = {
            "raster": self.raster,
            "field": self.field,
            "blocks": self.blocks,
            "stands": self.stands,
        }
        given = [name for name, form in forms.items() if form is not None]
        if len(given) != 1:
            raise ValueError(
                f"a split has exactly one of raster, field, blocks and stands, got"
                f" {' and '.join(given) or 'none'}"
            )
        self._check_vector()
        codes = (self.train, self.validation, self.test)
        coded = self.raster is not None or (self.field is not None and self.shares is None)
        if not coded and codes != (TRAIN, VALIDATION, TEST):
            raise ValueError("train, validation and test belong to a split by raster or field")
        if self.raster is None and self.band is not None:
            raise ValueError("band belongs to a split by raster")
        if len(self.codes) != sum(
            1 if isinstance(code, int | str) else len(code) for code in codes
        ):
            raise ValueError(
                f"a fold code belongs to one fold, got train {self.train}, validation"
                f" {self.validation}, test {self.test}"
            )
        return self

    def _check_vector(self) -> None:
        """Refuse what belongs to a field where there is none."""
        if self.field is not None:
            return
        fields = {"vector", "layer", "buffer", "rule", "min_coverage", "shares", "seed"}
        defaults = {name: type(self).model_fields[name].default for name in fields}
        given = sorted(name for name, value in defaults.items() if getattr(self, name) != value)
        if given:
            raise ValueError(f"{' and '.join(given)} of a split belong to field: the attribute")
