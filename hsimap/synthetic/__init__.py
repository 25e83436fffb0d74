"""Simulated boreal flight lines with the 13 stand variables of TAIGA as labels."""

from hsimap.synthetic._files import GENERATOR_VERSION, write_sample
from hsimap.synthetic._scene import Block, FlightLine, flight_line, make_block
from hsimap.synthetic._tasks import CLASS_TASKS, TASKS, VALUE_TASKS, tasks

__all__ = [
    "CLASS_TASKS",
    "GENERATOR_VERSION",
    "TASKS",
    "VALUE_TASKS",
    "Block",
    "FlightLine",
    "flight_line",
    "make_block",
    "tasks",
    "write_sample",
]
