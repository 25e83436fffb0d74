"""What other tools say of a map."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def assert_clean(path):
    """Be judged by rio-cogeo, with warnings as faults, and by gdalinfo, where it is there."""
    from rio_cogeo import cog_validate

    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    if shutil.which("gdalinfo") is None:
        pytest.skip("no gdalinfo here (apt-get install gdal-bin)")
    # Every pixel and overview is read for the checksum.
    words = ["gdalinfo", "-checksum", str(path)]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    assert "LAYOUT=COG" in found.stdout
