"""How many parts a pool takes, and what SLURM says against a job."""

import pytest

from hsimap.flightlines import _pool
from hsimap.flightlines._pool import Pool, _refusal


class Client:
    """A client of a scheduler with some workers."""

    dashboard_link, status = "nowhere", "running"

    def __init__(self, workers):
        self.workers = workers

    def nthreads(self):
        return {f"tcp://{n}": 1 for n in range(self.workers)}


@pytest.mark.parametrize(
    ("there", "asked", "expected", "at_once"),
    [(2, 2, 2, 2), (1, 4, 4, 4), (3, 0, 3, 6), (0, 0, 1, 2)],
)
def test_a_worker_has_one_part_and_a_running_cluster_another_in_store(
    there, asked, expected, at_once, monkeypatch
):
    monkeypatch.setattr(_pool, "as_completed", lambda futures, raise_errors: futures)
    pool = Pool(Client(there), retries=0, workers=asked)
    assert (pool.size, pool.expected, pool.at_once) == (there, expected, at_once)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 0", ""),
        ("echo would run at noon >&2", ""),
        (
            "(echo first; echo no such queue; echo) >&2; exit 1",
            "no such queue",
        ),
        ("exit 3", "sbatch ended with 3"),
        ('grep -q "^#SBATCH -p small" && [ "$1" = --test-only ] || exit 4', ""),
    ],
)
def test_what_sbatch_says_against_a_job(tmp_path, monkeypatch, script, said):
    command = tmp_path / "sbatch"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert _refusal("#!/bin/sh\n#SBATCH -p small\n") == said


def test_a_machine_without_sbatch_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "sbatch does not start" in _refusal("")
