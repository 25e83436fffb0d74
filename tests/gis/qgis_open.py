"""Open rasters in a real QGIS without a screen; run with the Python that QGIS belongs to.

    /usr/bin/python3 qgis_open.py FOLDER RASTER [RASTER ...]

Prints one JSON line a raster: what a user would see in the layer panel. Draws each to
FOLDER/<stem>.png. Exits with the number of rasters that QGIS could not open.
"""

import json
import os
import sys
from pathlib import Path

for name in ("GDAL_DATA", "PROJ_DATA", "PROJ_LIB", "PYTHONPATH"):
    os.environ.pop(name, None)
os.environ["QT_QPA_PLATFORM"] = "offscreen"

from qgis.core import (  # noqa: E402  # after the environment is clean
    Qgis,
    QgsApplication,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsRasterLayer,
)
from qgis.PyQt.QtCore import QSize  # noqa: E402


def describe(path, folder):
    layer = QgsRasterLayer(str(path), path.stem)
    facts = {"path": str(path), "valid": layer.isValid(), "qgis": Qgis.QGIS_VERSION}
    if not layer.isValid():
        return facts
    renderer = layer.renderer()
    legend = [[label, color.name()] for label, color in renderer.legendSymbologyItems()]
    provider = layer.dataProvider()
    extent = layer.extent()
    facts |= {
        "crs": layer.crs().authid(),
        "extent": [extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()],
        "renderer": renderer.type(),
        "legend": legend,
        "ramp_suffix": ramp_suffix(renderer),
        "bands": [provider.generateBandName(i) for i in range(1, layer.bandCount() + 1)],
        "nodata": provider.sourceNoDataValue(1),
        "colors_drawn": draw(layer, folder / f"{path.stem}.png"),
    }
    return facts


def ramp_suffix(renderer):
    """Return what the layer panel writes behind the numbers of a colour ramp; None = no ramp."""
    if renderer.type() != "singlebandpseudocolor":
        return None
    return renderer.shader().rasterShaderFunction().legendSettings().suffix()


def draw(layer, target):
    """Draw the whole layer and count its colours."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(400, 400))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    image.save(str(target))
    pixels = range(0, 400, 4)
    return len({image.pixel(x, y) for x in pixels for y in pixels})


def main():
    folder = Path(sys.argv[1])
    application = QgsApplication([], False)  # noqa: FBT003  # no window
    application.initQgis()
    found = [describe(Path(name), folder) for name in sys.argv[2:]]
    for facts in found:
        print(json.dumps(facts), flush=True)  # noqa: T201
    # PyQGIS may abort while it is torn down, after everything was said.
    os._exit(sum(not facts["valid"] for facts in found))


main()
