"""Find the lines of a campaign: paths, patterns, folders, lists, STAC items."""

from __future__ import annotations

import glob
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hsimap.errors import InputError, UsageError
from hsimap.scenes import is_scene_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_RASTERS: Final = (".tif", ".tiff", ".h5", ".he5", ".nc")
_PATTERN: Final = frozenset("*?[")
_SIDECARS: Final = (".hdr", ".xml", ".json", ".txt", ".qml", ".png")


def find_lines(
    named: Sequence[str], *, listed: Path | None = None, stac: Path | None = None
) -> tuple[list[Path], list[Path]]:
    """Return the rasters that are lines by name, and those that merely lie in a folder.

    Parameters
    ----------
    named : sequence of str
        Rasters, patterns such as ``lines/*.bil`` and folders, which are searched with all below.
    listed : Path, optional
        Text file of one such a line; relative to the file, empty lines and ``#`` left out.
    stac : Path, optional
        An item, a collection of items or a list of them; hrefs are relative to the file.

    Raises
    ------
    UsageError
        If something is not there, or nothing is found.
    InputError
        If the STAC file cannot be read.
    """
    words = [(text, Path()) for text in named]
    if listed is not None:
        words += [(text, listed.parent) for text in _read_list(listed)]
    sure = [] if stac is None else list(_read_stac(stac))
    maybe: list[Path] = []
    for text, base in words:
        path = base / text
        if not path.exists() and not _PATTERN & set(text):
            raise UsageError(f"there is no file or folder {text!r}; check the path")
        found = [path] if path.exists() else _matches(path)
        if not found:
            raise UsageError(f"no file matches {text!r}; check the pattern")
        for one in found:
            if one.is_dir() and not is_scene_folder(one):
                maybe += _in_folder(one)
            else:
                sure.append(one)
    sure = list(dict.fromkeys(sure))
    maybe = [path for path in dict.fromkeys(maybe) if path not in set(sure)]
    if not sure and not maybe:
        raise UsageError("no line is named and none is found; name rasters, patterns or folders")
    return sure, maybe


def _matches(pattern: Path) -> list[Path]:
    """Return what a pattern matches, sidecars left out."""
    names = glob.glob(str(pattern), recursive=True)  # noqa: PTH207  # may be absolute
    paths = sorted(Path(name) for name in names)
    return [path for path in paths if path.suffix.lower() not in _SIDECARS]


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"cannot read the list {path}: {error.strerror}") from error
    return [text for line in lines if (text := line.split("#")[0].strip())]


def _in_folder(folder: Path) -> Iterator[Path]:
    """Yield the rasters below a folder: by suffix, and files with an ENVI header beside them."""
    whole: set[Path] = set()
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not whole.isdisjoint(path.parents):
            continue
        if path.is_dir():
            if is_scene_folder(path):
                whole.add(path)
                yield path
        elif path.suffix.lower() in _RASTERS:
            yield path
        elif path.suffix.lower() == ".hdr":
            yield from _data_of(path)


def _data_of(header: Path) -> Iterator[Path]:
    """Yield the data file of an ENVI header: ``line``, ``line.img``, ``line.bil`` and so on."""
    stem = header.with_suffix("")
    if stem.is_file():
        yield stem
        return
    for path in sorted(header.parent.glob(f"{glob.escape(stem.name)}.*")):
        if path.is_file() and path.suffix.lower() not in (*_SIDECARS, *_RASTERS):
            yield path
            return


def _read_stac(path: Path) -> Iterator[Path]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no STAC JSON: {error}") from error
    items = content if isinstance(content, list) else content.get("features", [content])
    for item in items:
        name = item.get("id", "?")
        assets = item.get("assets", {})
        data = [a for a in assets.values() if "data" in a.get("roles", [])] or list(assets.values())
        if len(data) != 1:
            raise InputError(
                f"{path}: item {name!r} has {len(data)} assets that may be the raster; give one the"
                f" role 'data'"
            )
        href = str(data[0].get("href", "")).removeprefix("file://")
        if "://" in href:
            raise InputError(
                f"{path}: item {name!r} points to {href}; only files of this machine or of the"
                f" shared file system are read"
            )
        found = path.parent / href
        if not found.is_file():
            raise UsageError(f"{path}: item {name!r} points to {href!r}, which is not there")
        yield found
