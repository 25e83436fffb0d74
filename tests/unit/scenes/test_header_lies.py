"""Every lie of an ENVI header has the exit code and the message that the page of formats states."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from hsimap.errors import HsimapError
from hsimap.scenes import open_scene

PAGE = Path(__file__).parents[3] / "docs" / "formats.md"
HEADER = """ENVI
samples = 30
lines = 20
bands = 3
header offset = 0
data type = 2
interleave = bsq
byte order = 0
wavelength units = Nanometers
wavelength = {500, 600, 700}
map info = {UTM, 1, 1, 383851.349, 5819308.225, 9, 9, 33, North, WGS-84, units=Meters}
"""


def table():
    section = PAGE.read_text().split("### A header that lies")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (\d+) \| (.+?) \|$", section, re.MULTILINE)
    return {case: (int(code), message) for case, code, message in rows}


def put(key, value):
    """Return a change of the header: another value of a key, or none."""

    def change(folder):
        header = folder / "x.hdr"
        kept = [x for x in header.read_text().splitlines() if not x.startswith(f"{key} =")]
        kept += [] if value is None else [f"{key} = {value}"]
        header.write_text("\n".join([*kept, ""]))

    return change


def cut(n):
    def change(folder):
        data = folder / "x.img"
        data.write_bytes(data.read_bytes()[:n])

    return change


def text(replaced, by):
    def change(folder):
        header = folder / "x.hdr"
        assert replaced in header.read_text()
        header.write_text(header.read_text().replace(replaced, by))

    return change


def add(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def both(*changes):
    return lambda folder: [change(folder) for change in changes]


PACKED = put("file compression", "1")
CASES = {
    "data file cut in half": cut(1800),
    "data file one byte short": cut(-1),
    "data file empty": cut(0),
    "twice the lines": put("lines", 40),
    "fewer bands": both(put("bands", 2), put("wavelength", "{500, 600}")),
    "another data type": put("data type", 4),
    "another header offset": put("header offset", 10),
    "unknown data type": put("data type", 99),
    "complex data type": put("data type", 6),
    "no lines": put("lines", 0),
    "negative samples": put("samples", -30),
    "1e9 lines": put("lines", 10**9),
    "2e6 bands": both(put("bands", 2 * 10**6), put("wavelength", None)),
    "1e12 bands": put("bands", 10**12),
    "bands missing": put("bands", None),
    "lines no number": put("lines", "many"),
    "unknown interleave": put("interleave", "bqs"),
    "unknown byte order": put("byte order", 2),
    "negative header offset": put("header offset", -4),
    "frame offsets": put("major frame offsets", "{4, 0}"),
    "spectral library": put("file type", "ENVI Spectral Library"),
    "header missing": lambda folder: (folder / "x.hdr").unlink(),
    "data missing": lambda folder: (folder / "x.img").unlink(),
    "two headers that differ": add("x.img.hdr", b"ENVI\n"),
    "one header, two data files": add("x", b""),
    "no ENVI in the first line": text("ENVI\n", ""),
    "header of 50 MB": add("x.hdr", b"ENVI\n" + b" " * (50 << 20)),
    "a field stated twice": text("bands = 3", "bands = 3\nlines = 10"),
    "a brace that is never closed": text("700}", "700"),
    "too few wavelengths": put("wavelength", "{500, 600}"),
    "a wavelength of zero": put("wavelength", "{500, 0, 700}"),
    "a wavelength that is no number": put("wavelength", "{500, x, 700}"),
    "a unit that cannot be inferred": both(
        put("wavelength units", None), put("wavelength", "{50, 60, 70}")
    ),
    "too few bbl": put("bbl", "{1, 0}"),
    "all bands bad": put("bbl", "{0, 0, 0}"),
    "nodata no number": put("data ignore value", "none"),
    "nodata that differs between bands": put("data ignore value", "{-1, -2, -1}"),
    "scale of zero": put("reflectance scale factor", 0),
    "broken gzip": both(PACKED, cut(1000)),
    "gzip of the wrong size": both(PACKED, add("x.img", gzip.compress(bytes(3601)))),
    "missing unit": put("wavelength units", None),
    "unknown unit": both(
        put("wavelength units", "Unknown"), put("wavelength", "{0.5, 0.6, 0.7}")
    ),
    "wavelengths that are band numbers": put("wavelength units", "Index"),
    "fwhm of zero": put("fwhm", "{9, 0, 9}"),
    "nodata outside the type": put("data ignore value", "1e34"),
    "nodata NaN of integers": put("data ignore value", "nan"),
    "no byte order": put("byte order", None),
    "no interleave": put("interleave", None),
    "map info that cannot be read": put("map info", "{UTM, 1}"),
    "geo points only": both(put("map info", None), put("geo points", "{1, 1, 60, 24}")),
    "gains that differ": put("data gain values", "{1, 2, 3}"),
    "no place at all": put("map info", None),
}  # fmt: skip


def test_the_table_of_the_page_is_the_list_of_cases():
    assert list(table()) == list(CASES)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "x.img").write_bytes(np.full(3 * 20 * 30, 7, "<i2").tobytes())
    (tmp_path / "x.hdr").write_text(HEADER)
    return tmp_path


def test_without_a_lie_the_scene_opens_without_a_note(folder):
    scene = open_scene(folder / "x.img")
    assert scene.notes == ()
    assert (scene.read(scene.grid.window)[0] == 7).all()


@pytest.mark.parametrize("case", list(CASES))
def test_the_lie_has_its_exit_code_and_its_message_of_one_line(folder, case):
    code, message = table()[case]
    CASES[case](folder)
    header_first = case in {"data missing", "one header, two data files"}
    path = folder / ("x.hdr" if header_first else "x.img")
    if code == 0:
        scene = open_scene(path)
        assert any(message in note for note in scene.notes), scene.notes
        assert scene.read(scene.grid.window)[0].shape == (3, 20, 30)
        return
    with pytest.raises(HsimapError) as caught:
        open_scene(path)
    assert caught.value.exit_code == code
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
