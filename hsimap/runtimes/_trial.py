"""Try a user's network: is it what its YAML says, and does the composed graph repeat it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx

from hsimap.errors import BundleError, VerificationError
from hsimap.geometry import round_up
from hsimap.runtimes._compose import Feed, Tap, normalise, post_process
from hsimap.runtimes._onnx import OnnxRuntime
from hsimap.runtimes._parity import (
    ParityReport,
    check_parity,
    measure_reach,
    parity_shapes,
    random_input,
)
from hsimap.runtimes._sessions import run_session
from hsimap.streams import available_cpus
from hsimap.tasks import Kind, Output, Role

if TYPE_CHECKING:
    import onnxruntime as ort
    from numpy.typing import NDArray

    from hsimap.runtimes._interface import Contract

_REACH_SIDE: Final = 512
"""Largest side, in pixels, on which the stated reach is tried out."""
_REACH_SHARE: Final = 0.01
_SUM_TOLERANCE: Final = 1e-3
_log = logging.getLogger("hsimap")


class Trial:
    """Compares the user's network with what was made of it.

    Parameters
    ----------
    contract : Contract
        What the bundle states.
    session : InferenceSession
        The user's network.
    feed : Feed
        Its inputs.
    taps : list of Tap
        Its outputs.
    """

    def __init__(
        self, contract: Contract, session: ort.InferenceSession, feed: Feed, taps: list[Tap]
    ) -> None:
        self._contract, self._session, self._feed, self._taps = contract, session, feed, taps
        ones = np.ones(contract.n_bands, dtype=np.float32)
        self._mean = 0 * ones if feed.mean is None else feed.mean
        self._std = ones if feed.std is None else feed.std

    def reference(
        self, image: NDArray[np.float32], valid: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        """Run the user's network between numpy's normalisation and post-processing."""
        raw = self._raw(image, valid)
        return {tap.output.name: post_process(tap, raw[tap.source]) for tap in self._taps}

    def _raw(
        self, image: NDArray[np.float32], valid: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        inputs = {self._feed.image: normalise(self._feed, image, valid)}
        if self._feed.valid is not None:
            inputs[self._feed.valid] = valid
        return run_session(self._session, inputs)

    def probe(self, *, where: str) -> None:
        """Refuse outputs whose channels, strides or probabilities are not what the YAML says."""
        for shape in parity_shapes(self._contract):
            raw = self._raw(*self._draw(shape))
            for tap in self._taps:
                self._check_raw(tap, raw[tap.source], shape, where=where)

    def _draw(self, shape: tuple[int, int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return random_input(np.random.default_rng(0), shape, mean=self._mean, std=self._std)

    def _check_raw(
        self, tap: Tap, raw: NDArray[np.float32], shape: tuple[int, int, int], *, where: str
    ) -> None:
        what = f"outputs.{tap.output.name}: {tap.source!r} of {where}"
        batch, height, width = shape
        stride, (first, end) = tap.output.stride, tap.channels or (0, raw.shape[1])
        if (raw.shape[0], *raw.shape[2:]) != (batch, height // stride, width // stride):
            raise BundleError(
                f"{what} has the shape {raw.shape} for (batch, y, x) = {shape}, which is not stride"
                f" {stride}; correct outputs.{tap.output.name}.stride or alignment"
            )
        if end > raw.shape[1] or end - first != tap.output.channels:
            raise BundleError(
                f"{what} has {raw.shape[1]} channels and {max(0, end - first)} are chosen, but"
                f" {tap.output.channels} are needed; correct its channels or the task's classes"
            )
        value = post_process(tap, raw)
        if not np.isfinite(value).all():
            raise BundleError(f"{what} is not finite on valid input")
        if tap.output.role is Role.PROBABILITY and not _are_probabilities(tap.output, value):
            raise BundleError(
                f"{what} holds no probabilities (from {value.min():.3g} to {value.max():.3g});"
                f" set outputs.{tap.output.name}.activation to softmax or sigmoid"
            )

    def compare(self, graph: bytes) -> ParityReport:
        """Compare the composed graph with the reference on every trial shape."""
        try:
            onnx.checker.check_model(onnx.load_model_from_string(graph), full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            text = " ".join(str(error).split())[:300]
            raise VerificationError(f"the composed graph is not valid: {text}") from error
        return check_parity(
            self._contract,
            self.reference,
            self._runtime(graph).forward,
            stored=(self._mean.tolist(), self._std.tolist()),
        )

    def _runtime(self, graph: bytes) -> OnnxRuntime:
        return OnnxRuntime(
            graph, self._contract, device="cpu", threads=available_cpus(), where="composed graph"
        )

    def far_influence(self, graph: bytes, *, reach: int) -> float | None:
        """Return how far outputs follow pixels beyond the stated reach; None = not tried.

        The unit is the span of the output. A warning is given above 1 %.
        """
        step = self._contract.alignment
        side = round_up(max(4 * (reach + step), self._contract.patch), step)
        if side > _REACH_SIDE:
            return None
        share = measure_reach(
            self._contract,
            self._runtime(graph).forward,
            reach=reach,
            side=side,
            stored=(self._mean, self._std),
        )
        if share > _REACH_SHARE:
            _log.warning(
                "outputs change by %.2g of their span with pixels more than reach = %d px away;"
                " a larger reach (or tile.trim) makes seams smaller",
                share,
                reach,
            )
        return share


def _are_probabilities(output: Output, value: NDArray[np.float32]) -> bool:
    if value.min() < -_SUM_TOLERANCE or value.max() > 1 + _SUM_TOLERANCE:
        return False
    if output.kind is not Kind.CATEGORICAL:
        return True
    return bool(np.abs(value.sum(axis=1) - 1).max() < _SUM_TOLERANCE)
