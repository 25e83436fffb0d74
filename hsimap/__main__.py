"""``python -m hsimap``."""

from __future__ import annotations

from hsimap.cli import main

if __name__ == "__main__":
    main()
