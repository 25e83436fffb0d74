"""The folder itself: written in one step, read only if every byte is what the manifest says."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors

from hsimap.bundle._card import NOT_SHOWN, model_card
from hsimap.bundle._disk import sync_folder
from hsimap.bundle._manifest import (
    BundleFields,
    BundleManifest,
    FileEntry,
    complete,
    fields_of,
    first_fault,
    manifest_text,
    one_line,
    parse_manifest,
)
from hsimap.errors import BundleError, OutputExistsError, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hsimap.tasks import Task

MANIFEST: Final = "manifest.json"
CARD: Final = "MODEL_CARD.md"
WEIGHTS: Final = "weights.safetensors"
ONNX: Final = "network.onnx"
INT8: Final = "network.int8.onnx"
_NETWORKS: Final = (WEIGHTS, ONNX)
_PAYLOADS: Final = (*_NETWORKS, INT8)
_CHUNK: Final = 1 << 20
_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A verified model folder.

    Use :meth:`load` or :meth:`save`; the constructor checks nothing.
    """

    path: Path
    """The folder."""
    manifest: BundleManifest

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Open a model folder and check every byte of it.

        Parameters
        ----------
        path : Path
            The folder that holds ``manifest.json``.

        Raises
        ------
        UsageError
            If nothing is there.
        BundleError
            If it is no bundle, or a file is missing, altered, a link or not in the manifest.
        """
        folder = Path(path)
        if not folder.exists():
            raise UsageError(f"no model at {folder}; give the folder that holds {MANIFEST}")
        if not folder.is_dir():
            raise BundleError(
                f"{folder} is no bundle, which is a folder with {MANIFEST}; `hsimap import` makes"
                f" one of an ONNX network, other checkpoints are refused because they can run code"
            )
        manifest = parse_manifest(_read(folder / MANIFEST), where=str(folder / MANIFEST))
        bundle = cls(path=folder, manifest=manifest)
        bundle.verify()
        return bundle

    @classmethod
    def save(
        cls,
        path: Path | str,
        fields: BundleFields | Mapping[str, object],
        files: Mapping[str, bytes],
        *,
        overwrite: bool = False,
    ) -> Self:
        """Write a model folder in one step: it is there whole or not at all.

        Parameters
        ----------
        path : Path
            The folder to make; its parents are made too.
        fields : BundleFields or mapping
            What the model is; files and digest are added here.
        files : mapping
            ``weights.safetensors`` and/or ``network.onnx``.
        overwrite : bool
            Replace a bundle that is there. Anything else that is there is never touched.

        Raises
        ------
        BundleError
            If the fields contradict each other or do not go with the files.
        OutputExistsError
            If something is there.
        StorageError
            If the disk refuses.
        """
        record = _check_content(fields, files)
        content = {**files, CARD: model_card(record).encode()}
        return cls._store(Path(path).resolve(), record, content, overwrite=overwrite)

    @classmethod
    def _store(
        cls, folder: Path, record: BundleFields, content: Mapping[str, bytes], *, overwrite: bool
    ) -> Self:
        entries = {name: _entry(data) for name, data in sorted(content.items())}
        manifest = complete(record, entries)
        _check_free(folder, overwrite=overwrite)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            _write(folder, {**content, MANIFEST: manifest_text(manifest)})
        except OSError as error:
            raise StorageError(f"cannot write the bundle {folder}: {error}") from error
        return cls(path=folder, manifest=manifest)

    def rewrite(
        self, changes: Mapping[str, object], files: Mapping[str, bytes] | None = None
    ) -> Self:
        """Replace the folder in one step: some fields, and files that are new or changed.

        Parameters
        ----------
        changes : mapping
            Field of the manifest to its new value.
        files : mapping, optional
            ``network.int8.onnx``; the others stay.

        Raises
        ------
        BundleError, StorageError
            As :meth:`save`.
        """
        kept = {name: self._payload(name) for name in (*_PAYLOADS, CARD)}
        content = {name: data for name, data in kept.items() if data is not None}
        card = content.pop(CARD)
        content |= dict(files or {})
        fields = fields_of(self.manifest).model_copy(update=dict(changes))
        record = _check_content(fields, content)
        if not set(changes) <= NOT_SHOWN:
            card = model_card(record).encode()
        return self._store(self.path.resolve(), record, {**content, CARD: card}, overwrite=True)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @property
    def digest(self) -> str:
        """Identity of the bundle: sha256, 64 hexadecimal digits."""
        return self.manifest.digest

    @property
    def onnx(self) -> bytes | None:
        """The ONNX graph, checked against its hash as it is read; None = there is none."""
        return self._payload(ONNX)

    @property
    def int8(self) -> bytes | None:
        """The quantised graph, checked against its hash as it is read; None = there is none."""
        return self._payload(INT8)

    def weights(self) -> dict[str, NDArray[np.generic]]:
        """Return the weights by parameter name, checked against their hash as they are read.

        Raises
        ------
        BundleError
            If there are none, or one holds NaN or infinity.
        """
        data = self._payload(WEIGHTS)
        if data is None:
            raise BundleError(f"{self.path} has no {WEIGHTS}; it is an ONNX-only bundle")
        try:
            arrays: dict[str, NDArray[np.generic]] = load_safetensors(data)
        except (SafetensorError, ValueError, KeyError) as error:
            raise BundleError(f"{self.path / WEIGHTS} is malformed: {one_line(error)}") from error
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise BundleError(f"{self.path / WEIGHTS}: {name!r} holds NaN or infinity")
        return arrays

    def task(self, name: str) -> Task:
        """Return a task by its name.

        Raises
        ------
        UsageError
            If the model has no such task.
        """
        for task in self.manifest.tasks:
            if task.name == name:
                return task
        raise UsageError(
            f"model {self.name!r} has no task {name!r}; it has"
            f" {', '.join(task.name for task in self.manifest.tasks)}"
        )

    def verify(self) -> None:
        """Check that the folder holds exactly the manifest's files, byte for byte.

        Raises
        ------
        BundleError
            Naming the file.
        """
        _check_names(self.path, self.manifest)
        for name, entry in self.manifest.files.items():
            _check_file(self.path / name, entry)
        if _read(self.path / MANIFEST) != manifest_text(self.manifest):
            raise BundleError(f"{self.path / MANIFEST} changed since it was loaded")

    def _payload(self, name: str) -> bytes | None:
        entry = self.manifest.files.get(name)
        if entry is None:
            return None
        data = _read(self.path / name)
        if _entry(data) != entry:
            raise BundleError(f"{self.path / name} is not what the manifest says; restore it")
        return data


def _check_content(
    fields: BundleFields | Mapping[str, object], files: Mapping[str, bytes]
) -> BundleFields:
    strays = sorted(set(files) - set(_PAYLOADS))
    if strays or not set(files) & set(_NETWORKS):
        raise BundleError(f"a bundle holds {' and/or '.join(_NETWORKS)}, got {sorted(files)}")
    try:
        record = BundleFields.model_validate(fields)
    except ValidationError as error:
        raise BundleError(f"the bundle's manifest is wrong: {first_fault(error)}") from error
    if (WEIGHTS in files) != (record.network is not None):
        raise BundleError(f"{WEIGHTS} and the manifest's `network` go together: give both or none")
    return record


def _check_names(folder: Path, manifest: BundleManifest) -> None:
    wanted = {MANIFEST, *manifest.files}
    illegal = wanted - {MANIFEST, CARD, *_PAYLOADS}
    if illegal or CARD not in wanted or not wanted & set(_NETWORKS):
        raise BundleError(f"{folder / MANIFEST} lists the files {sorted(wanted)}, which is illegal")
    if (WEIGHTS in wanted) != (manifest.network is not None):
        raise BundleError(f"{folder / MANIFEST}: `network` and {WEIGHTS} go together")
    found = {entry.name for entry in folder.iterdir()}
    for name in sorted(wanted - found):
        raise BundleError(f"{folder / name} is missing; restore the bundle")
    for name in sorted(found - wanted):
        raise BundleError(f"{folder}: {name!r} does not belong to the bundle; remove it")


def _entry(data: bytes) -> FileEntry:
    return FileEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def _open(path: Path) -> int:
    """Open a regular file of the folder itself; links are refused, and fifos do not block."""
    try:
        handle = os.open(path, _FLAGS)
    except OSError as error:
        why = "is a link" if path.is_symlink() else error.strerror
        raise BundleError(f"{path} cannot be read: {why}; restore the bundle") from error
    if not S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise BundleError(f"{path} is no regular file; restore the bundle")
    return handle


def _read(path: Path) -> bytes:
    with os.fdopen(_open(path), "rb") as file:
        return file.read()


def _check_file(path: Path, entry: FileEntry) -> None:
    with os.fdopen(_open(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size != entry.size:
            raise BundleError(f"{path} has {size} bytes instead of {entry.size}; restore it")
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != entry.sha256:
        raise BundleError(f"{path} was altered: its sha256 is not the manifest's; restore it")


def _check_free(folder: Path, *, overwrite: bool) -> None:
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return
    known = {MANIFEST, CARD, *_PAYLOADS}
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if MANIFEST not in names or names - known:
        raise OutputExistsError(f"{folder} exists and is no bundle; choose another folder")
    if not overwrite:
        raise OutputExistsError(f"{folder} exists; choose another folder or overwrite it")


def _write(folder: Path, content: Mapping[str, bytes]) -> None:
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    old = temporary.with_suffix(".old")
    temporary.mkdir()
    try:
        for name, data in content.items():
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(temporary)
        if folder.exists():
            folder.rename(old)
        try:
            temporary.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
