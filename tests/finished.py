"""Finished folders of maps, made from arrays."""

from __future__ import annotations

from hsimap.products import describe_layers, write_layer, write_manifest


def write_finished(folder, maps, *, model, scene=None):
    """Write layers with their ``(band, y, x)`` numbers as a run does that has finished."""
    folder.mkdir(parents=True)
    files = []
    for layer, stored in maps:
        files += write_layer(folder, layer, lambda w, stored=stored: stored[(..., *w.slices)])
    content = {
        "identity": {},
        "scene": {"name": folder.name, "path": str(scene) if scene else None},
        "model": model,
        "notes": [],
        "plan": {},
        "seconds": 0,
        "finished": "2026-07-02T00:00:00Z",
        **describe_layers([layer for layer, _ in maps]),
    }
    write_manifest(folder, content, files=files)
    return folder
