"""Names, encodings and keys of ENVI headers, in every legal form."""

import gzip

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.enums import WktVersion

from hsimap.scenes import open_scene

VALUES = np.arange(3 * 4 * 5, dtype="<i2").reshape(3, 4, 5)
TM35FIN = rasterio.CRS.from_epsg(3067).to_wkt(version=WktVersion.WKT1_ESRI)
HEADER = (
    "ENVI\nsamples = 5\nlines = 4\nbands = 3\ndata type = 2\ninterleave = bsq\nbyte order = 0\n"
)


def write(folder, data="x.img", header="x.hdr", extra="", text=HEADER):
    (folder / data).write_bytes(VALUES.tobytes())
    (folder / header).write_text(text + extra)
    return folder / data


def bands(folder, extra):
    return open_scene(write(folder, extra=extra)).bands


@pytest.mark.parametrize(
    ("data", "header"),
    [
        ("x.img", "x.hdr"), ("x.img", "x.img.hdr"), ("x.dat", "x.hdr"), ("x", "x.hdr"),
        ("x.bil", "x.bil.hdr"), ("X.IMG", "X.HDR"), ("X.IMG", "X.IMG.HDR"), ("x.IMG", "x.hdr"),
        ("Line1.bsq", "line1.HDR"), ("ang20160910t185702_rfl", "ang20160910t185702_rfl.hdr"),
        ("a.b.c", "a.b.c.hdr"), ("name with blanks, ä.raw", "name with blanks, ä.hdr"),
    ],
)  # fmt: skip
def test_data_and_header_find_each_other(tmp_path, data, header):
    write(tmp_path, data, header)
    (tmp_path / "xx.hdr").write_text("ENVI\n")
    for name in (data, header):
        scene = open_scene(tmp_path / name)
        assert [path.name for path in scene.files] == [data, header]
        np.testing.assert_array_equal(scene.read(scene.grid.window)[0], VALUES)


def test_two_headers_of_the_same_words_are_one(tmp_path):
    write(tmp_path)
    assert open_scene(write(tmp_path, header="x.img.hdr")).bands.n == 3


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_a_header_in_any_encoding_and_with_any_line_ends(tmp_path, ends, encoding):
    path = write(tmp_path)
    text = HEADER + "wavelength units = µm\nwavelength = {\n 0.5,\n 0.6, 0.7}\n"
    (tmp_path / "x.hdr").write_bytes(text.replace("\n", ends).encode(encoding))
    assert open_scene(path).bands.wavelength_nm == (500, 600, 700)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_casing_blanks_comments_and_order_of_the_fields_mean_nothing(tmp_path, data):
    fields = [
        *HEADER.splitlines()[1:],
        "wavelength = {500,\n600, 700}", "wavelength units = nm", "fwhm = {9, 9.5, 10}",
        "bbl = {1, 0,\n 1 }", "data ignore value = -1", "reflectance scale factor = 1e4",
    ]  # fmt: skip
    casing = st.sampled_from([str.lower, str.upper, str.title])
    lines = ["ENVI"]
    for field in data.draw(st.permutations(fields)):
        key, value = field.split("=")
        blanks = data.draw(st.sampled_from(["", " ", "\t", "   "]))
        lines.append(f"{blanks}{data.draw(casing)(key.strip())}{blanks}={blanks}{value.strip()}")
        lines += data.draw(st.sampled_from([[], [""], ["; samples = 99"], ["  ;{"]]))
    path = write(tmp_path, text="\n".join(lines) + "\n")
    scene = open_scene(path)
    assert scene.bands.wavelength_nm == (500, 600, 700)
    assert scene.bands.fwhm_nm == (9, 9.5, 10)
    assert scene.bands.good == (True, False, True)
    assert (scene.nodata, scene.scale) == (-1, 1e-4)
    np.testing.assert_array_equal(scene.raw(scene.grid.window)[0], VALUES)


@pytest.mark.parametrize(
    ("unit", "values", "widths"),
    [
        ("Nanometers", "500, 600, 700", "5, 6, 7"), ("NM", "500, 600, 700", "5, 6, 7"),
        ("nanometre", "500, 600, 700", "5, 6, 7"), ("Micrometers", ".5,.6,.7", ".005,.006,.007"),
        ("um", "0.5, 0.6, 0.7", "5e-3, 6e-3, 7e-3"), ("Microns", ".5,.6,.7", ".005,.006,.007"),
        ("Angstroms", "5000, 6000, 7000", "50, 60, 70"), ("mm", "5e-4,6e-4,7e-4", "5e-6,6e-6,7e-6"),
        ("Unknown", "0.5, 0.6, 0.7", "0.005, 0.006, 0.007"),
    ],
)  # fmt: skip
def test_units_become_nanometres(tmp_path, unit, values, widths):
    found = bands(
        tmp_path, f"wavelength units = {unit}\nwavelength = {{{values}}}\nfwhm = {{{widths}}}\n"
    )
    np.testing.assert_allclose(found.wavelength_nm, [500, 600, 700])
    np.testing.assert_allclose(found.fwhm_nm, [5, 6, 7])


def test_wavenumbers_and_frequencies_are_turned_round(tmp_path):
    found = bands(
        tmp_path,
        "wavelength units = Wavenumber\nwavelength = {20000, 10000, 5000}\nfwhm = {9, 9, 9}\n",
    )
    assert found.wavelength_nm == (500, 1000, 2000)
    edges = 1e7 / (np.array([20000, 10000, 5000])[:, None] + [-4.5, 4.5])
    np.testing.assert_allclose(found.fwhm_nm, edges[:, 0] - edges[:, 1], rtol=1e-5)
    found = bands(tmp_path, "wavelength units = GHz\nwavelength = {6e5, 5e5, 4e5}\n")
    np.testing.assert_allclose(found.wavelength_nm, [499.654097, 599.584916, 749.481145])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("band 1 (0.5 Micrometers), band 2 (0.6 Micrometers),\nband 3 (0.7 Micrometers)", True),
        ("500 nm, 600 nm, 700 nm", True),
        ("B1 (500.0 Nanometers, narrow), B2 (600 nm, good), B3 (700.00 Nanometers)", True),
        ("red, edge 500 nm,\nred, edge 600 nm,\nred, edge 700 nm", True),
        ("500 nm, 600, 700 nm", False),
        ("500 nm, 600 nm", False),
        ("Band 8, Band 9, Band 10", False),
    ],
)
def test_wavelengths_are_read_off_the_names_where_each_states_one(tmp_path, names, expected):
    scene = open_scene(write(tmp_path, extra=f"band names = {{\n{names}}}\n"))
    assert scene.bands.wavelength_nm == ((500, 600, 700) if expected else None)
    assert any("read off the band names" in note for note in scene.notes) == expected


def test_a_field_of_free_text_may_be_stated_twice_and_hold_fields(tmp_path):
    extra = "description = {\n samples = 99}\ndescription = {other}\nsensor type = a\nlines = 4\n"
    assert open_scene(write(tmp_path, extra=extra)).grid.width == 5


def test_gains_that_are_alike_are_the_scale_and_a_scale_factor_wins(tmp_path):
    gains = "data gain values = {1e-4, 1e-4,\n 1e-4}\n"
    assert open_scene(write(tmp_path, extra=gains)).scale == 1e-4
    offsets = gains + "data offset values = {0, 0, 0}\n"
    assert open_scene(write(tmp_path, extra=offsets)).scale == 1e-4
    both = gains + "reflectance scale factor = 100\n"
    assert open_scene(write(tmp_path, extra=both)).scale == 1e-2
    offsets = gains + "data offset values = {0, 1, 0}\n"
    assert open_scene(write(tmp_path, extra=offsets)).scale is None


def test_a_line_of_comment_may_stand_inside_a_list(tmp_path):
    extra = "wavelength units = nm\nwavelength = {500,\n; 550, {the old one}\n600, 700}\n"
    assert bands(tmp_path, extra).wavelength_nm == (500, 600, 700)


def test_nodata_that_is_stated_for_each_band_alike_is_one(tmp_path):
    assert open_scene(write(tmp_path, extra="data ignore value = {-1, -1, -1}\n")).nodata == -1


def test_gzip_is_found_by_its_bytes_where_the_header_does_not_say_so(tmp_path):
    path = write(tmp_path)
    path.write_bytes(gzip.compress(VALUES.tobytes()))
    with open_scene(path) as scene:
        np.testing.assert_array_equal(scene.read(scene.grid.window)[0], VALUES)
        assert scene.storage.compression == "gzip"


@pytest.mark.parametrize(
    "place",
    [
        "map info = {UTM, 1, 1, 5e5, 6e6, 2, 2, 33, North, WGS-84, units=Meters, rotation=-17.5}",
        "map info = {UTM, 3.5, 2.5, 5e5, 6e6, 2, 3, 33, South, WGS-84, units=Meters}",
        "map info = { Geographic Lat/Lon , 1 , 1 , 24.0 , 60.0 , 0.01 , 0.01 , WGS-84 }",
        "map info = {UTM, 1, 1, 5e5, 6e6, 2, 2, 11, North, North America 1927}",
        "map info = {Arbitrary, 1, 1, 10, 20, 2, 2}",
        f"map info = {{x, 1, 1, 5e5, 7e6, 2, 2}}\ncoordinate system string = {{{TM35FIN}}}",
    ],
    ids=["rotated", "reference pixel", "degrees", "old datum", "arbitrary", "wkt"],
)  # fmt: skip
def test_the_place_is_that_which_gdal_finds(tmp_path, place):
    path = write(tmp_path, extra=place + "\n")
    scene = open_scene(path)
    with rasterio.open(path, driver="ENVI") as file:
        assert scene.grid.transform == file.transform
        assert scene.grid.crs == (file.crs.to_wkt() if file.crs else None)
