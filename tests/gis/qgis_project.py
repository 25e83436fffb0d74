"""Open a project in a real QGIS without a screen; run with the Python that QGIS belongs to.

    /usr/bin/python3 qgis_project.py PROJECT OUT.png

Prints one JSON object: what a user would see. Draws the canvas, every visible layer on it, to
OUT.png, and the legends of all layers to OUT.legend.png.
"""

import json
import os
import sys

for name in ("GDAL_DATA", "PROJ_DATA", "PROJ_LIB", "PYTHONPATH"):
    os.environ.pop(name, None)
os.environ["QT_QPA_PLATFORM"] = "offscreen"

from qgis.core import (  # noqa: E402  # after the environment is clean
    Qgis,
    QgsApplication,
    QgsLayerTreeModel,
    QgsLegendRenderer,
    QgsLegendSettings,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsProject,
    QgsRenderContext,
)
from qgis.PyQt.QtCore import QSize  # noqa: E402
from qgis.PyQt.QtGui import QColor, QImage, QPainter  # noqa: E402


def tree(node):
    """Return groups as ``[name, [children]]`` and layers as names."""
    children = node.children()
    return [[c.name(), tree(c)] if hasattr(c, "addGroup") else c.name() for c in children]


def describe(leaf, model):
    layer = leaf.layer()
    facts = {"name": leaf.name(), "valid": bool(layer and layer.isValid())}
    if not facts["valid"]:
        return facts | {"source": layer.source() if layer else None}
    extent = layer.extent()
    labels = [node.data(0) for node in model.layerLegendNodes(leaf)]
    facts |= {
        "id": layer.id(),
        "crs": layer.crs().authid(),
        "wkt": layer.crs().toWkt(),
        "extent": [extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()],
        "legend": [label for label in labels if label],
        "visible": leaf.isVisible(),
    }
    renderer = layer.renderer()
    facts["renderer"] = renderer.type()
    if renderer.type() == "singlebandpseudocolor":
        facts["suffix"] = renderer.shader().rasterShaderFunction().legendSettings().suffix()
    if hasattr(layer, "featureCount"):
        facts["features"] = layer.featureCount()
    return facts


def draw(project, target):
    settings = QgsMapSettings()
    shown = [n.layer() for n in project.layerTreeRoot().findLayers() if n.isVisible()]
    settings.setLayers(shown)
    settings.setDestinationCrs(project.crs())
    settings.setExtent(project.viewSettings().defaultViewExtent())
    settings.setOutputSize(QSize(600, 600))
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    image.save(target)
    pixels = range(0, 600, 4)
    return len({image.pixel(x, y) for x in pixels for y in pixels})


def draw_legend(model, target):
    """Draw the panel as a print layout would."""
    image = QImage(QSize(1000, 3000), QImage.Format_ARGB32)
    image.setDotsPerMeterX(3780)
    image.setDotsPerMeterY(3780)
    image.fill(QColor("white"))
    painter = QPainter(image)
    context = QgsRenderContext.fromQPainter(painter)
    painter.scale(3.78, 3.78)
    context.setScaleFactor(3.78)
    QgsLegendRenderer(model, QgsLegendSettings()).drawLegend(context)
    painter.end()
    image.save(target)


def main():
    application = QgsApplication([], False)  # noqa: FBT003  # no window
    application.initQgis()
    project = QgsProject.instance()
    read = project.read(sys.argv[1])
    root = project.layerTreeRoot()
    model = QgsLayerTreeModel(root)
    facts = {
        "read": read,
        "qgis": Qgis.QGIS_VERSION,
        "title": project.title(),
        "crs": project.crs().authid(),
        "tree": tree(root),
        "layers": [describe(leaf, model) for leaf in root.findLayers()],
        "colors_drawn": draw(project, sys.argv[2]),
    }
    draw_legend(model, sys.argv[2].replace(".png", ".legend.png"))
    print(json.dumps(facts), flush=True)  # noqa: T201
    # PyQGIS may abort while it is torn down, after everything was said.
    os._exit(0)


main()
