"""The script that QGIS's own Python runs is no test."""

collect_ignore = ["qgis_open.py", "qgis_project.py"]
