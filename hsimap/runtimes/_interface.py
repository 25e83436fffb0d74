"""What the engine asks of a runtime, and what a graph must obey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from hsimap.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hsimap.bundle import BundleFields
    from hsimap.tasks import Output

IMAGE: Final = "image"
VALID: Final = "valid"
STORED: Final = frozenset(map(np.dtype, ("int16", "uint16", "uint8")))
"""Types of an image that every runtime takes beside float32."""


class Runtime(Protocol):
    """A network that is ready to run; :func:`hsimap.runtimes.open_runtime` gives one."""

    def describe(self) -> dict[str, str]:
        """Return what may change the bits of a result: runtime, device, precision, versions."""

    def forward(
        self, image: NDArray[np.generic], valid: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        """Run the network on a batch.

        Parameters
        ----------
        image : ndarray
            ``(batch, band, y, x)`` in the bundle's storage units: float32, finite; or a scene's
            integers of a type in ``STORED``, 0 where not valid.
        valid : ndarray
            ``(batch, 1, y, x) float32``, 1 = valid, 0 = invalid.

        Returns
        -------
        dict
            Output name to ``(batch, channel, y / stride, x / stride) float32``: class
            probabilities, or values in physical units; meaningless where not valid.

        Raises
        ------
        ResourceError
            If the memory does not suffice.
        BundleError
            If the graph does not give what its bundle says.
        """

    def close(self) -> None:
        """Give memory and threads back; the runtime must not be used afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The shapes that a graph takes and gives."""

    n_bands: int
    outputs: tuple[Output, ...]
    alignment: int
    """Input sides are multiples of it, in pixels."""
    patch: int
    """Smallest input side, in pixels."""

    @classmethod
    def of(cls, manifest: BundleFields) -> Contract:
        """Return the contract of a bundle."""
        return cls(
            n_bands=manifest.input.n_bands,
            outputs=manifest.outputs,
            alignment=manifest.alignment,
            patch=manifest.patch,
        )

    def check_input(self, image: NDArray[np.generic], valid: NDArray[np.float32]) -> None:
        """Refuse arrays that no caller of ours should pass."""
        batch, bands, height, width = image.shape
        wrong = {
            "dtype": image.dtype not in STORED | {np.dtype(np.float32)}
            or valid.dtype != np.float32,
            "bands": bands != self.n_bands,
            "valid": valid.shape != (batch, 1, height, width),
            "side": bool(height % self.alignment or width % self.alignment)
            or min(height, width) < self.patch,
        }
        for what, is_wrong in wrong.items():
            if is_wrong:
                raise ValueError(
                    f"wrong {what}: image {image.shape} {image.dtype}, valid {valid.shape}"
                    f" {valid.dtype}; wanted float32 or stored integers, {self.n_bands} bands,"
                    f" sides in multiples of {self.alignment} px and at least {self.patch} px"
                )

    def check_output(
        self, results: Mapping[str, NDArray[np.float32]], shape: tuple[int, ...]
    ) -> None:
        """Refuse results whose shapes are not what the bundle declares.

        Parameters
        ----------
        results : mapping
            Output name to array.
        shape : tuple of int
            Shape of the image they were computed from.
        """
        batch, _, height, width = shape
        for output in self.outputs:
            got = results[output.name].shape
            wanted = (batch, output.channels, height // output.stride, width // output.stride)
            if got != wanted:
                raise BundleError(
                    f"output {output.name!r} has shape {got} for an input of {shape}, but"
                    f" {output.channels} channels at stride {output.stride} make {wanted}; correct"
                    f" the manifest or the network"
                )
