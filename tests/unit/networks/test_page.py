"""The page of the networks says what they are."""

import runpy
from pathlib import Path

from hsimap.networks import architectures

ROOT = Path(__file__).parents[3]


def test_the_tables_are_what_the_command_prints():
    printed = runpy.run_path(str(ROOT / "benchmarks/network_sizes.py"))["lines"]()
    page = (ROOT / "docs/networks.md").read_text().splitlines()
    missing = [line for line in printed if line not in page]
    assert missing == []


def test_every_architecture_and_field_of_the_switches_is_named():
    page = (ROOT / "docs/networks.md").read_text()
    for name, kind in architectures().items():
        assert f"| `{name}` |" in page
        for field, info in kind.model_fields.items():
            assert info.description or field == "architecture", (name, field)
    for switch in ("residual", "aspp", "attention", "channel_pooling", "skips", "batch_norm"):
        assert f"`{switch}`" in page
