import subprocess
import sys
import time

import pytest

HEAVY = {"torch", "onnxruntime", "rasterio", "rioxarray", "lightning", "matplotlib"}


@pytest.mark.parametrize(
    "code",
    [
        "import sys, hsimap; print(*sys.modules)",
        "import sys, hsimap.cli; print(*sys.modules)",
        (
            "import sys\nfrom typer.testing import CliRunner\nfrom hsimap.cli._main import app\n"
            "assert CliRunner().invoke(app, ['predict', '--help']).exit_code == 0\n"
            "print(*sys.modules)"
        ),
    ],
)
def test_the_package_and_its_help_load_nothing_heavy(code):
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(ran.stdout.split())


def test_every_public_name_is_there():
    import hsimap

    for name in hsimap.__all__:
        assert getattr(hsimap, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = hsimap.nothing


def test_help_answers_at_once():
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "hsimap", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - started)
    # 0.25 s on a quiet machine; loading torch alone takes 1.5 s.
    assert min(times) < 1.2
