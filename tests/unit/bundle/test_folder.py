import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from hsimap.bundle import CARD, INT8, MANIFEST, ONNX, WEIGHTS, Bundle, _folder
from hsimap.errors import BundleError, OutputExistsError, StorageError, UsageError

Fields = Callable[..., dict[str, Any]]
Payload = dict[str, bytes]
FILES = (MANIFEST, CARD, WEIGHTS, ONNX)


@pytest.fixture
def bundle(tmp_path: Path, fields: Fields, payload: Payload) -> Bundle:
    return Bundle.save(tmp_path / "model", fields(), payload)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, fields: Fields, payload: Payload) -> Bundle:
    return Bundle.save(tmp_path_factory.mktemp("shared") / "model", fields(), payload)


def test_what_is_saved_is_loaded(bundle: Bundle, payload: Payload) -> None:
    loaded = Bundle.load(bundle.path)
    assert loaded.manifest == bundle.manifest
    assert sorted(path.name for path in bundle.path.iterdir()) == sorted(FILES)
    assert loaded.onnx == payload[ONNX]
    assert loaded.weights()["stem.weight"].shape == (4, 3)
    assert loaded.manifest.metrics == {"cover": {"overall_accuracy": 0.875, "kappa": None}}
    assert loaded.task("height").unit == "m"
    with pytest.raises(UsageError, match=r"no task 'depth'; it has cover, height"):
        loaded.task("depth")


def test_the_same_fields_and_files_give_the_same_bytes(
    tmp_path: Path, fields: Fields, payload: Payload
) -> None:
    a, b = (Bundle.save(tmp_path / name, fields(), payload) for name in "ab")
    assert a.digest == b.digest
    for name in FILES:
        assert (a.path / name).read_bytes() == (b.path / name).read_bytes()


@settings(max_examples=150)
@given(name=st.sampled_from(FILES), where=st.floats(0, 1), mask=st.integers(1, 255))
def test_any_flipped_byte_is_refused(shared: Bundle, name: str, where: float, mask: int) -> None:
    path = shared.path / name
    clean = path.read_bytes()
    dirty = bytearray(clean)
    dirty[round(where * (len(clean) - 1))] ^= mask
    path.write_bytes(dirty)
    try:
        with pytest.raises(BundleError, match=name):
            Bundle.load(shared.path)
    finally:
        path.write_bytes(clean)


@settings(max_examples=60)
@given(name=st.sampled_from(FILES), share=st.floats(0, 0.999))
def test_a_truncated_file_is_refused(shared: Bundle, name: str, share: float) -> None:
    path = shared.path / name
    clean = path.read_bytes()
    path.write_bytes(clean[: int(share * len(clean))])
    try:
        with pytest.raises(BundleError, match=name):
            Bundle.load(shared.path)
    finally:
        path.write_bytes(clean)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(bundle: Bundle, name: str) -> None:
    (bundle.path / name).unlink()
    with pytest.raises(BundleError, match=name):
        Bundle.load(bundle.path)


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "network.onnx.data", "manifest.json~"])
def test_an_extra_file_is_refused(bundle: Bundle, name: str) -> None:
    (bundle.path / name).write_bytes(b"")
    with pytest.raises(BundleError, match=name):
        Bundle.load(bundle.path)


@pytest.mark.parametrize("name", FILES)
def test_a_link_in_the_place_of_a_file_is_refused(
    bundle: Bundle, name: str, tmp_path: Path
) -> None:
    shutil.move(bundle.path / name, tmp_path / "elsewhere")
    (bundle.path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match=f"{name} cannot be read: is a link"):
        Bundle.load(bundle.path)


def test_a_pipe_in_the_place_of_a_file_does_not_hang(bundle: Bundle) -> None:
    (bundle.path / ONNX).unlink()
    os.mkfifo(bundle.path / ONNX)
    with pytest.raises(BundleError, match="no regular file"):
        Bundle.load(bundle.path)


def test_a_file_that_changes_after_loading_is_not_used(bundle: Bundle) -> None:
    (bundle.path / ONNX).write_bytes(b"other")
    (bundle.path / WEIGHTS).write_bytes(save({"w": np.zeros(3, np.float32)}))
    with pytest.raises(BundleError, match=ONNX):
        _ = bundle.onnx
    with pytest.raises(BundleError, match=WEIGHTS):
        bundle.weights()
    with pytest.raises(BundleError):
        bundle.verify()


def _pickle(path: Path) -> None:
    path.write_bytes(b"\x80\x04cposix\nsystem\n(S'touch bomb'\ntR.")


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../escaped", b"x")


@pytest.mark.parametrize("make", [_pickle, _zip])
def test_a_file_is_no_bundle(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "model.pt")
    with pytest.raises(BundleError, match=r"no bundle.*hsimap import"):
        Bundle.load(tmp_path / "model.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_nothing_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model at"):
        Bundle.load(tmp_path / "absent")
    with pytest.raises(BundleError, match=MANIFEST):
        Bundle.load(tmp_path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(
    tmp_path: Path, fields: Fields, bad: float
) -> None:
    weights = save({"head.bias": np.array([0, bad], np.float32)})
    bundle = Bundle.save(tmp_path / "m", fields(), {WEIGHTS: weights})
    with pytest.raises(BundleError, match=r"head\.bias"):
        bundle.weights()


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b"\xff" * 64])
def test_weights_that_are_no_safetensors_are_refused(
    tmp_path: Path, fields: Fields, data: bytes
) -> None:
    bundle = Bundle.save(tmp_path / "m", fields(), {WEIGHTS: data})
    with pytest.raises(BundleError, match="malformed"):
        bundle.weights()


def test_an_onnx_only_bundle(tmp_path: Path, fields: Fields) -> None:
    bundle = Bundle.save(tmp_path / "m", fields(network=None), {ONNX: b"graph"})
    assert Bundle.load(tmp_path / "m").onnx == b"graph"
    with pytest.raises(BundleError, match="ONNX-only"):
        bundle.weights()


@pytest.mark.parametrize(
    ("changes", "files", "words"),
    [
        ({}, {}, "holds weights"),
        ({}, {"code.py": b""}, "code.py"),
        ({"network": None}, {WEIGHTS: b""}, "go together"),
        ({}, {ONNX: b""}, "go together"),
        ({"alignment": 3}, {WEIGHTS: b""}, "no multiple"),
    ],
)
def test_contents_that_do_not_go_together_are_refused_before_anything_is_written(
    tmp_path: Path, fields: Fields, changes: dict[str, Any], files: dict[str, bytes], words: str
) -> None:
    with pytest.raises(BundleError, match=words):
        Bundle.save(tmp_path / "m", fields(**changes), files)
    assert not any(tmp_path.iterdir())


def test_nothing_that_is_there_is_lost(bundle: Bundle, fields: Fields, payload: Payload) -> None:
    before = bundle.digest
    with pytest.raises(OutputExistsError, match="overwrite"):
        Bundle.save(bundle.path, fields(reach=3), payload)
    assert Bundle.load(bundle.path).digest == before
    Bundle.save(bundle.path, fields(reach=3), payload, overwrite=True)
    assert Bundle.load(bundle.path).manifest.reach == 3
    assert [path.name for path in bundle.path.parent.iterdir()] == ["model"]
    (bundle.path / "thesis.docx").write_bytes(b"precious")
    with pytest.raises(OutputExistsError, match="no bundle"):
        Bundle.save(bundle.path, fields(), payload, overwrite=True)


@pytest.fixture
def broken_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(_folder, "sync_folder", fail)
        yield


@pytest.mark.usefixtures("broken_disk")
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, fields: Fields, payload: Payload
) -> None:
    with pytest.raises(StorageError, match="No space left"):
        Bundle.save(tmp_path / "m", fields(), payload)
    assert not any(tmp_path.iterdir())


def test_the_card_tells_a_person_what_the_model_is(bundle: Bundle) -> None:
    card = (bundle.path / CARD).read_text()
    for text in ("# demo", "1 roof \\| tile, 4 tree", "m, 0 to 40", "450 to 650 nm", "0.0001"):
        assert text in card
    assert "| cover | overall_accuracy | 0.875 |" in card
    assert "| scenes |  | a.tif, b.tif |" in card


def test_a_rewrite_keeps_what_it_does_not_name(
    tmp_path: Path, fields: Fields, payload: dict[str, bytes]
) -> None:
    bundle = Bundle.save(tmp_path / "model", fields(), payload)
    text = (bundle.path / MANIFEST).read_bytes()
    card = (bundle.path / CARD).read_bytes()
    assert b"acceptance" not in text  # nothing changes for bundles that have none
    changed = bundle.rewrite({"activation_bytes_per_px": 77.0}, {INT8: b"small"})
    loaded = Bundle.load(bundle.path)
    assert loaded.manifest == changed.manifest
    assert (loaded.onnx, loaded.int8) == (payload[ONNX], b"small")
    assert loaded.manifest.activation_bytes_per_px == 77.0
    assert loaded.manifest.tasks == bundle.manifest.tasks
    assert loaded.digest != bundle.digest
    assert (bundle.path / CARD).read_bytes() == card
    (bundle.path / INT8).write_bytes(b"other")
    with pytest.raises(BundleError, match="altered"):
        Bundle.load(bundle.path)


def test_a_quantised_graph_alone_is_no_bundle(
    tmp_path: Path, fields: Fields, payload: dict[str, bytes]
) -> None:
    with pytest.raises(BundleError, match="a bundle holds"):
        Bundle.save(tmp_path / "model", fields(network=None), {INT8: b"small"})
