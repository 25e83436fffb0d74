"""Simulated boreal flight lines with the 13 stand variables of TAIGA as labels."""

from hsimap.synthetic._campaign import CampaignLine, make_campaign_block, plan_campaign
from hsimap.synthetic._campaign_files import TRUTH, line_folder, write_campaign
from hsimap.synthetic._files import GENERATOR_VERSION, write_sample
from hsimap.synthetic._scene import Block, FlightLine, flight_line, make_block
from hsimap.synthetic._taiga import write_taiga
from hsimap.synthetic._tasks import CLASS_TASKS, TASKS, VALUE_TASKS, tasks

__all__ = [
    "CLASS_TASKS",
    "GENERATOR_VERSION",
    "TASKS",
    "TRUTH",
    "VALUE_TASKS",
    "Block",
    "CampaignLine",
    "FlightLine",
    "flight_line",
    "line_folder",
    "make_block",
    "make_campaign_block",
    "plan_campaign",
    "tasks",
    "write_campaign",
    "write_sample",
    "write_taiga",
]
