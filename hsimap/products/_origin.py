"""What maps were made from and with, as a STAC item says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hsimap._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsimap.products._folder import MapFolder

ITEM: Final = "application/geo+json"


def processing(folder: MapFolder) -> dict[str, object]:
    """Return how maps were made, in the words of the ``processing`` extension."""
    tags = folder.layers[0].tags
    model = tags.get("HSIMAP_MODEL", "")
    digest = tags.get("HSIMAP_MODEL_DIGEST", "")[:12]
    versions = {str(k): str(v) for k, v in folder.manifest.get("versions", {}).items()}
    lines = folder.manifest.get("identity", {}).get("lines")
    source = f"{len(lines)} flight lines" if lines else folder.name
    facts: dict[str, object] = {
        "processing:level": "L4",
        "processing:lineage": f"Mapped from {source} with the model {model} {digest}".strip(),
        "processing:software": {"hsimap": __version__, **versions},
        "processing:version": str(folder.manifest.get("identity", {}).get("hsimap", __version__)),
    }
    if "finished" in folder.manifest:
        facts["processing:datetime"] = folder.manifest["finished"]
    return facts


def sources(folder: MapFolder, known: Mapping[str, str]) -> list[dict[str, object]]:
    """Return links to the lines of a mosaic, or to the scene.

    What is no item of the catalogue goes by its name alone, as a path means nothing elsewhere.
    """
    identity = folder.manifest.get("identity", {})
    links: list[dict[str, object]] = []
    for name in identity.get("lines", {}):
        link: dict[str, object] = {"rel": "derived_from", "href": str(name), "title": "flight line"}
        if name in known:
            link |= {"href": f"../{known[name]}/{known[name]}.json", "type": ITEM}
        links.append(link)
    names = identity.get("scene") or {}
    links += [{"rel": "derived_from", "href": str(n), "title": "scene"} for n in names if n]
    return links
