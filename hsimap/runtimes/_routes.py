"""Ways through a bundle's network: runtime and precision, and which of them may be taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hsimap.bundle import INT8, ONNX, WEIGHTS
from hsimap.errors import MismatchError, UsageError
from hsimap.runtimes._host import cuda_devices, has, instruction_set, processor

if TYPE_CHECKING:
    from hsimap.bundle import Acceptance, Bundle

FULL: Final = "fp32"
PRECISIONS: Final = ("auto", "fp32", "bf16", "fp16", "int8")
_BF16_FLAGS: Final = {"avx512_bf16", "amx_tile"}


@dataclass(frozen=True, slots=True)
class Route:
    """One way through a network."""

    runtime: str
    """torch, onnx, openvino or ncnn."""
    precision: str
    """fp32, bf16, fp16 or int8."""

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}"


NCNN: Final = Route("ncnn", FULL)
NCNN_LIBRARIES: Final = ("ncnn", "pnnx")


def runs_side_by_side(runtime: str) -> bool:
    """Say whether a runtime may be given several forwards at a time, on a CPU."""
    return runtime in {"onnx", "ncnn"}


def default_runtime(bundle: Bundle) -> str:
    """Return what runs a bundle in float32 unless it is said otherwise."""
    return "onnx" if ONNX in bundle.manifest.files else "torch"


def other_routes(bundle: Bundle, *, device: str = "auto") -> list[Route]:
    """Return the routes beside the default one that this machine and bundle can take at all.

    Those of reduced precision, and ncnn, which sums in another way. A CPU has no use for float16,
    which it computes in float32.
    """
    files, has_bf16 = bundle.manifest.files, bool(_BF16_FLAGS & set(instruction_set().split()))
    on_gpu, weights, graph = _on_gpu(device), WEIGHTS in files, ONNX in files
    possible = {
        Route("torch", "bf16"): weights and (has_bf16 or on_gpu),
        Route("torch", "fp16"): weights and on_gpu,
        Route("openvino", "bf16"): graph and has_bf16 and has("openvino") and not on_gpu,
        Route("onnx", "fp16"): graph and on_gpu,
        Route("onnx", "int8"): INT8 in files and not on_gpu,
        NCNN: graph and _is_measured(bundle) and has(*NCNN_LIBRARIES) and not on_gpu,
    }
    return [route for route, can in possible.items() if can]


def _on_gpu(device: str) -> bool:
    return device != "cpu" and bool(cuda_devices())


def _is_measured(bundle: Bundle) -> bool:
    return bundle.manifest.ncnn_activation_bytes_per_px is not None


def record_of(bundle: Bundle, route: Route, *, device: str = "auto") -> Acceptance | None:
    """Return how a route was found to do on this processor; None = not tried."""
    here = processor(device)
    for record in bundle.manifest.acceptance:
        if (record.runtime, record.precision, record.cpu) == (route.runtime, route.precision, here):
            return record
    return None


def choices(bundle: Bundle, *, runtime: str, precision: str, device: str = "auto") -> list[Route]:
    """Return the routes that may be taken, float32 first.

    Parameters
    ----------
    bundle : Bundle
        The model.
    runtime, precision : str
        As the user asked; auto = any that is accepted.
    device : str
        cpu, cuda, or auto: a GPU if there is one.

    Raises
    ------
    MismatchError
        If a reduced precision is asked for and the bundle holds no acceptance of it on this
        machine; says what was measured.
    UsageError
        If nothing can give the precision.
    """
    full = Route(default_runtime(bundle) if runtime == "auto" else runtime, FULL)
    if full == NCNN and not _is_measured(bundle):
        raise UsageError(
            f"model {bundle.name!r} holds no measure of its memory in ncnn, which it may not run"
            f" in; hsimap export {bundle.path} measures it"
        )
    fitting = [
        route
        for route in other_routes(bundle, device=device)
        if runtime in {"auto", route.runtime} and precision in {"auto", route.precision}
    ]
    accepted = [route for route in fitting if _is_open(record_of(bundle, route, device=device))]
    if precision in {"auto", FULL}:
        return [full, *(route for route in accepted if route != full)]
    if not accepted:
        _refuse(bundle, fitting, precision, here=processor(device))
    return accepted


def _is_open(record: Acceptance | None) -> bool:
    return record is not None and record.verdict != "refused"


def _refuse(bundle: Bundle, fitting: list[Route], precision: str, *, here: str) -> None:
    if not fitting and not any(r.precision == precision for r in bundle.manifest.acceptance):
        raise UsageError(
            f"nothing runs model {bundle.name!r} in {precision} on this machine; use --precision"
            f" fp32, or make the files with hsimap export"
        )
    records = [r for r in bundle.manifest.acceptance if r.precision == precision]
    found = [r for r in records if r.cpu == here]
    if not found:
        raise MismatchError(
            f"model {bundle.name!r} holds no acceptance of {precision} on this machine"
            f" ({here}); measure it with hsimap export --calibrate SCENE"
        )
    raise MismatchError(
        f"{precision} is not accepted for model {bundle.name!r}: {'; '.join(found[0].faults)};"
        f" use --precision fp32"
    )


def waiver_note(bundle: Bundle, route: Route, *, device: str = "auto") -> str | None:
    """Return the sentence that a run carries if acceptance was waived for its route."""
    record = record_of(bundle, route, device=device)
    if record is None or record.verdict != "waived":
        return None
    return f"{route} is used without acceptance, which was waived: {'; '.join(record.faults)}"
