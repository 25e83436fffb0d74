"""Areas of interest against exact areas, on north-up and rotated grids."""

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from hsimap.errors import InputError, UsageError
from hsimap.geometry import Grid
from hsimap.labels import Area, AreaSpec, parse_bbox

CRS = pyproj.CRS.from_epsg(32635).to_wkt()


def grid(angle=0.0, height=20, width=30, crs=CRS):
    place = Affine.translation(300000, 6700000) @ Affine.rotation(angle) @ Affine.scale(2, -2)
    return Grid(height=height, width=width, transform=place, crs=crs)


def cells(place):
    """Return the square of each pixel on the ground, ``(y, x)``."""
    rows, cols = np.mgrid[: place.height, : place.width]
    corners = [(0, 0), (1, 0), (1, 1), (0, 1)]
    rings = [place.transform @ (cols + i, rows + j) for i, j in corners]
    return shapely.polygons(np.stack([np.stack(ring, axis=-1) for ring in rings], axis=2))


@given(
    angle=st.sampled_from([0.0, 17.3, -60.0]),
    west=st.floats(-10, 50),
    south=st.floats(-50, 10),
    width=st.floats(0.1, 40),
    height=st.floats(0.1, 40),
)
def test_a_pixel_is_in_a_box_if_some_part_of_it_is(angle, west, south, width, height):
    place = grid(angle)
    box = (300000 + west, 6700000 + south, 300000 + west + width, 6700000 + south + height)
    covered = shapely.area(shapely.intersection(cells(place), shapely.box(*box))) / 4
    if not (covered > 1e-5).any():
        return
    area = Area(AreaSpec(bbox=box), place)
    found = area.read(place.window)
    clear = (covered > 1e-5) | (covered < 1e-9)
    np.testing.assert_array_equal(found[clear], (covered > 1e-6)[clear])
    rows, cols = np.nonzero(found)
    window = area.window
    assert (window.row, window.col) == (rows.min(), cols.min()) or angle
    assert window.row <= rows.min() <= rows.max() < window.row + window.height
    assert window.col <= cols.min() <= cols.max() < window.col + window.width
    assert area.touches(place.window)


def test_a_box_on_the_edges_of_pixels_takes_those_pixels_and_no_more():
    area = Area(AreaSpec(bbox=(300004, 6699980, 300010, 6699996)), grid())
    assert (area.window.row, area.window.col) == (2, 2)
    assert (area.window.height, area.window.width) == (8, 3)
    assert area.read(grid().window).sum() == 24


def test_a_window_begins_at_a_step():
    area = Area(AreaSpec(bbox=(300006, 6699980, 300010, 6699994)), grid(), step=2)
    assert (area.window.row, area.window.col) == (2, 2)


def test_a_box_in_degrees_is_the_one_that_the_projection_says():
    to = pyproj.Transformer.from_crs(4326, 32635, always_xy=True)
    place = grid(25.0)
    lon, lat = to.transform(*(place.transform @ (15, 10)), direction="INVERSE")
    west, south, east, north = lon - 3e-4, lat - 8e-5, lon + 1e-4, lat + 5e-5
    ring = shapely.segmentize(shapely.box(west, south, east, north), 1e-6)
    moved = shapely.transform(ring, lambda xy: np.stack(to.transform(*xy.T), axis=1))
    covered = shapely.area(shapely.intersection(cells(place), moved)) / 4
    assert 0 < (covered > 0).sum() < covered.size
    area = Area(AreaSpec(bbox=(west, south, east, north), crs="EPSG:4326"), place)
    found = area.read(place.window)
    clear = (covered > 1e-3) | (covered == 0)
    np.testing.assert_array_equal(found[clear], covered[clear] > 0)


def write(path, shapes, crs="EPSG:32635"):
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array(shapes)), [], [], geometry_type="Unknown", crs=crs
    )
    return path


def test_polygons_of_a_file_and_a_box_leave_what_lies_in_both(tmp_path):
    shapes = [
        shapely.box(300002, 6699990, 300010, 6699998),
        shapely.box(300040, 6699970, 300050, 6699980),
    ]
    path = write(tmp_path / "a.gpkg", shapes)
    place = grid()
    whole = Area(AreaSpec(polygons=path), place)
    assert whole.read(place.window).sum() == 4 * 4 + 5 * 5
    assert not whole.touches(place.window.shift(rows=0, cols=100))
    box = (300006, 6699900, 300100, 6700100)
    both = Area(AreaSpec(polygons=path, bbox=box), place)
    assert both.read(place.window).sum() == 2 * 4 + 5 * 5


def test_what_is_no_area_is_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match="made of polygons"):
        Area(
            AreaSpec(polygons=write(tmp_path / "p.gpkg", [shapely.Point(300002, 6699990)])), grid()
        )
    with pytest.raises(InputError, match="no part of the box 0,0,1,1 lies on the scene"):
        Area(AreaSpec(bbox=(0, 0, 1, 1)), grid())
    with pytest.raises(UsageError, match="no reference system"):
        Area(AreaSpec(bbox=(0, 0, 1, 1), crs="EPSG:nothing"), grid())
    with pytest.raises(UsageError, match="xmin < xmax"):
        AreaSpec(bbox=(1, 0, 1, 1))
    with pytest.raises(UsageError, match="does not exist"):
        Area(AreaSpec(polygons=tmp_path / "none.gpkg"), grid())
    for text in ("1,2,3", "a,b,c,d", ""):
        with pytest.raises(UsageError, match="--bbox is"):
            parse_bbox(text)
    assert parse_bbox("1,2,3,4") == ((1, 2, 3, 4), None)
