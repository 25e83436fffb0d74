"""Where parts of lines are computed: processes of this machine, or any dask cluster."""

from __future__ import annotations

import subprocess
import warnings
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import dask
from distributed import Client, LocalCluster
from distributed.client import as_completed

from hsimap.errors import (
    BundleError,
    HsimapError,
    InputError,
    MismatchError,
    OutputExistsError,
    ResourceError,
    UsageError,
    VerificationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GPU: Final = "GPU"
_FOR_GOOD: Final = (
    UsageError,
    InputError,
    MismatchError,
    BundleError,
    OutputExistsError,
    VerificationError,
)
"""Errors that come again however often a part is tried."""
_CALM: Final = {
    **{f"distributed.worker.memory.{what}": False for what in ("pause", "spill", "target")},
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
}
"""What dask watches 50 to 100 times a second takes 4 % of the core of each of its processes."""
_WAIT: Final = "60s"
_PARTING_S: Final = 5
_DEATHS: Final = 3
"""Workers that a part may take with it before it is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong with a part."""

    message: str
    exit_code: int


def guarded(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # any part
    """Call a part; what would fail again in the same way comes back as a result."""
    # A pixel-less file in memory has no place; threads that write maps reset one another's filters.
    warnings.filterwarnings("ignore", message="Dataset has no geotransform")
    try:
        return function(*arguments, **options)
    except _FOR_GOOD as error:
        return Failure(message=str(error), exit_code=error.exit_code)


class Pool:
    """Runs parts on a dask cluster and gives the results as they come.

    Parameters
    ----------
    client : Client
        Connected.
    retries : int
        How often a part is tried again after an error that may pass.
    workers : int
        That were asked for and may still have to start; 0 = a running cluster has its own.
    gpu : bool
        Whether each part takes one of a worker's GPUs.
    """

    def __init__(
        self, client: Client, *, retries: int, workers: int = 0, gpu: bool = False
    ) -> None:
        self._client, self._retries, self._workers = client, retries, workers
        self._resources = {GPU: 1} if gpu else None
        self._queue = as_completed([], raise_errors=False)
        self._keys: dict[Any, object] = {}
        self.dashboard = str(client.dashboard_link)

    @property
    def size(self) -> int:
        """Workers at this moment."""
        try:
            return len(self._client.nthreads())
        except OSError as error:
            raise _lost() from error

    @property
    def expected(self) -> int:
        """Workers that there are or will be."""
        return max(self.size, self._workers, 1)

    @property
    def at_once(self) -> int:
        """Parts that are handed in before one comes back: one a worker.

        A running cluster gets two, as it may grow where work waits.
        """
        return self.expected if self._workers else 2 * self.expected

    @property
    def busy(self) -> int:
        """Parts that were submitted and have not come back."""
        return len(self._keys)

    def submit(
        self,
        tag: object,
        function: Callable[..., Any],
        *arguments: object,
        priority: int,
    ) -> None:
        """Hand in a part; ``tag`` comes back with its result."""
        if self._client.status != "running":
            raise _lost()
        future = self._client.submit(
            guarded,
            function,
            *arguments,
            pure=False,
            retries=self._retries,
            priority=priority,
            resources=self._resources,
        )
        self._keys[future] = tag
        self._queue.add(future)

    def next(self) -> tuple[object, Any]:
        """Wait for a part; return its tag and its result, or the :class:`Failure`.

        Raises
        ------
        ResourceError
            If the scheduler is gone.
        """
        future = next(self._queue)
        tag = self._keys.pop(future)
        if future.status in {"cancelled", "lost"}:
            raise _lost()
        if future.status == "finished":
            return tag, future.result()
        error = future.exception()
        if isinstance(error, HsimapError):
            return tag, Failure(message=str(error), exit_code=error.exit_code)
        if type(error).__name__ == "KilledWorker":
            text = "its worker died again and again, most likely for want of memory; lower --memory"
            return tag, Failure(message=text, exit_code=ResourceError.exit_code)
        return tag, Failure(message=f"{type(error).__name__}: {error}", exit_code=70)

    def forget(self, wanted: Callable[[object], bool]) -> None:
        """Cancel the parts whose tag answers; their results do not come any more."""
        gone = [future for future, tag in self._keys.items() if wanted(tag)]
        for future in gone:
            del self._keys[future]
        if gone:
            rest = list(self._keys)
            self._client.cancel(gone)
            self._queue = as_completed(rest, raise_errors=False)


def _lost() -> ResourceError:
    return ResourceError(
        "the scheduler is gone; start it and run the same command again, what is finished is kept"
    )


@contextmanager
def open_pool(scheduler: str, *, workers: int, retries: int, device: str) -> Iterator[Pool]:
    """Start or find a cluster.

    Parameters
    ----------
    scheduler : str
        ``local``, ``slurm`` or the address of a running scheduler.
    workers : int
        Processes that are started; a running cluster has its own.
    retries : int
        As for :class:`Pool`.
    device : str
        ``cuda`` takes one GPU a worker.

    Raises
    ------
    UsageError
        If the scheduler is none of these, or dask-jobqueue is not installed.
    ResourceError
        If it cannot be reached, or no worker offers a GPU where one is asked for.
    """
    gpu = device == "cuda"
    limits = {"distributed.scheduler.allowed-failures": max(retries, _DEATHS), **_CALM}
    with dask.config.set(limits), ExitStack() as stack:
        started = workers
        if scheduler == "local":
            client = stack.enter_context(Client(stack.enter_context(_here(workers, gpu=gpu))))
        elif scheduler == "slurm":
            client = stack.enter_context(Client(stack.enter_context(_slurm(workers))))
        elif "://" in scheduler:
            client, started = _connect(scheduler), 0
            stack.callback(_leave, client)
        else:
            raise UsageError(
                f"--scheduler is local, slurm or an address such as tcp://host:8786, got"
                f" {scheduler!r}"
            )
        if gpu and scheduler not in {"local", "slurm"} and not _offers_gpu(client):
            raise ResourceError(
                "no worker of the cluster offers a GPU; start them with"
                " dask worker --resources GPU=1, or use --device cpu"
            )
        yield Pool(client, retries=retries, workers=started, gpu=gpu)


def _here(workers: int, *, gpu: bool) -> LocalCluster:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        memory_limit=0,  # the plan of the tiles bounds it
        dashboard_address="127.0.0.1:0",
        resources={GPU: 1} if gpu else None,
        silence_logs=50,
    )


def _connect(address: str) -> Client:
    try:
        client = Client(address, timeout=_WAIT)
        client.wait_for_workers(1, timeout=60)
    except (OSError, TimeoutError) as error:
        raise ResourceError(
            f"no scheduler with workers answers at {address}: {error}; start one with dask"
            f" scheduler and dask worker"
        ) from error
    return client


def _leave(client: Client) -> None:
    """Part with a cluster, which may be gone."""
    with suppress(OSError, TimeoutError):
        client.close(timeout=_PARTING_S)


def _slurm(workers: int) -> Any:  # noqa: ANN401  # dask-jobqueue has no types
    try:
        from dask_jobqueue import SLURMCluster  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise UsageError(
            "--scheduler slurm needs dask-jobqueue; pip install 'hsimap[cluster]'"
        ) from error
    try:
        cluster = SLURMCluster(processes=1)
    except ValueError as error:
        raise UsageError(f"jobqueue.yaml does not say enough of the jobs: {error}") from error
    refused = _refusal(cluster.job_script())
    if refused:
        cluster.close()
        raise UsageError(f"SLURM takes no such job: {refused}; mend jobqueue.yaml")
    cluster.scale(workers)
    cluster.adapt(minimum=workers, maximum=workers)  # a job that is gone is asked for again
    return cluster


def _refusal(script: str) -> str:
    """Return what SLURM says against a job; nothing where it would take it."""
    try:
        words = ["sbatch", "--test-only"]
        found = subprocess.run(words, input=script, capture_output=True, text=True, check=False)  # noqa: S603  # ours
    except OSError as error:
        return f"sbatch does not start ({error})"
    if not found.returncode:
        return ""
    said = [line for line in found.stderr.splitlines() if line.strip()]
    return said[-1] if said else f"sbatch ended with {found.returncode}"


def _offers_gpu(client: Client) -> bool:
    info = client.scheduler_info(n_workers=-1)["workers"].values()
    return any(worker.get("resources", {}).get(GPU) for worker in info)
