"""The scripts that QGIS's own Python runs are no tests."""

import sys
from pathlib import Path

collect_ignore = ["qgis_open.py", "qgis_project.py"]
sys.path.insert(0, str(Path(__file__).parent))  # for --import-mode=importlib
