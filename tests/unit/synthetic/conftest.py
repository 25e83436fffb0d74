import pytest

from hsimap.geometry import Window
from hsimap.synthetic import flight_line, make_block


@pytest.fixture(scope="session")
def line():
    return flight_line(size=192, seed=5)


@pytest.fixture(scope="session")
def block(line):
    return make_block(line, Window(row=0, col=0, height=192, width=192))
