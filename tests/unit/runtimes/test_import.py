"""``hsimap import``: a user's network, with its normalisation and units put inside the graph."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hsimap.bundle import ONNX, Bundle
from hsimap.errors import BundleError, OutputExistsError, UsageError
from hsimap.runtimes import import_onnx, open_runtime
from hsimap.runtimes._compose import Feed, normalise
from hsimap.runtimes._parity import random_input

FORM: dict[str, Any] = {
    "name": "by-hand",
    "description": "Four variables.",
    "input": {
        "wavelengths": [450, 550, 650],
        "scale": 1e-4,
        "nodata": -9999,
        "dtype": "int16",
        "mean": [900, 1000, 2000],
        "std": [100, 150, 300],
    },
    "alignment": 2,
    "reach": 1,
    "patch": 4,
    "tasks": {
        "cover": {"kind": "categorical", "classes": {1: "a", 2: "b", 3: "c", 7: "d"}},
        "crown_edge": {"kind": "saliency"},
        "height": {"kind": "continuous", "unit": "m", "range": [0, 12]},
        "volume": {"kind": "continuous", "unit": "m3 ha-1"},
    },
    "outputs": {
        "cover": {"from": "logits", "activation": "softmax"},
        "crown_edge": {"from": "edge", "activation": "sigmoid"},
        "height": {"from": "values", "channel": 1, "offset": 6, "gain": 3},
        "height_std": {"from": "values", "channel": 0},
        "volume": {"from": "coarse", "channels": "2:3", "gain": -2, "stride": 2},
    },
}
Import = Callable[..., Bundle]


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the form with one key set, or removed by None."""
    form = yaml.safe_load(yaml.safe_dump(FORM))
    *parents, last = path.split(".")
    node = form
    for key in parents:
        node = node[key]
    node[last] = value
    if value is None:
        del node[last]
    return form


@pytest.fixture
def run(tmp_path: Path, user_network: onnx.ModelProto) -> Import:
    def run(form: dict[str, Any] = FORM, *, model: onnx.ModelProto | None = None) -> Bundle:
        (tmp_path / "net.onnx").write_bytes((model or user_network).SerializeToString())
        (tmp_path / "m.yaml").write_text(yaml.safe_dump(form, sort_keys=False))
        return import_onnx(
            tmp_path / "net.onnx", tmp_path / "m.yaml", tmp_path / "model", overwrite=True
        )

    return run


def oracle(weights: np.ndarray, image: np.ndarray, valid: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the pointwise network and FORM's arithmetic without ONNX."""
    mean, std = (np.array(FORM["input"][key], dtype=float) for key in ("mean", "std"))
    z = (image - mean[:, None, None]) / std[:, None, None]
    raw = np.einsum("kb,nbyx->nkyx", weights[:, :, 0, 0].astype(float), z * (valid > 0))
    exp = np.exp(raw[:, :4])
    batch, _, height, width = raw.shape
    coarse = raw[:, 7:8].reshape(batch, 1, height // 2, 2, width // 2, 2).mean(axis=(3, 5))
    return {
        "cover": exp / exp.sum(axis=1, keepdims=True),
        "crown_edge": 1 / (1 + np.exp(-raw[:, 4:5])),
        "height": np.clip(6 + 3 * raw[:, 6:7], 0, 12),
        "height_std": raw[:, 5:6],
        "volume": -2 * coarse,
    }


def test_the_imported_bundle_computes_what_its_form_says(run: Import, weights: np.ndarray) -> None:
    bundle = run()
    assert Bundle.load(bundle.path).digest == bundle.digest
    assert [output.name for output in bundle.manifest.outputs] == list(FORM["outputs"])
    assert bundle.manifest.network is None
    assert bundle.manifest.input.wavelength_nm == (450.0, 550.0, 650.0)
    imported = bundle.manifest.provenance["imported"]
    assert isinstance(imported, dict)
    assert imported["far_influence"] == 0.0
    runtime = open_runtime(bundle, device="cpu", threads=1)
    mean, std = (np.array(FORM["input"][key], np.float32) for key in ("mean", "std"))
    for shape in [(1, 4, 4), (3, 6, 10), (2, 34, 8)]:
        image, valid = random_input(np.random.default_rng(1), shape, mean=mean, std=std)
        got, expected = runtime.forward(image, valid), oracle(weights, image, valid)
        for name, values in expected.items():
            np.testing.assert_allclose(got[name], values, rtol=1e-4, atol=2e-5, err_msg=name)


def test_an_invalid_pixel_is_zero_after_normalisation_whatever_it_held(run: Import) -> None:
    runtime = open_runtime(run(), device="cpu", threads=1)
    image = np.full((1, 3, 8, 8), 1234, np.float32)
    valid = np.ones((1, 1, 8, 8), np.float32)
    valid[..., 3:5, 2:6] = 0
    results = []
    for rubbish in (0, -9999, np.finfo(np.float32).min, np.nan, np.inf):
        dirty = np.where(valid > 0, image, np.float32(rubbish))
        results.append(runtime.forward(dirty, valid))
    for other in results[1:]:
        for name, values in results[0].items():
            np.testing.assert_array_equal(values, other[name])


def test_the_same_import_gives_the_same_bundle(run: Import) -> None:
    assert run().digest == run().digest


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    offset=st.floats(-1e3, 1e3),
    gain=st.floats(-1e3, 1e3).filter(lambda g: abs(g) > 1e-3),
    scalar=st.booleans(),
    channel=st.integers(0, 3),
)
def test_any_units_and_statistics_pass_their_own_gate(
    run: Import, weights: np.ndarray, offset: float, gain: float, channel: int, *, scalar: bool
) -> None:
    form = changed("outputs.volume", {"from": "values", "channel": channel, "gain": gain})
    form["outputs"]["volume"]["offset"] = offset
    form["input"] |= {"mean": 10.0, "std": 4.0} if scalar else {"mean": None, "std": None}
    runtime = open_runtime(run(form), device="cpu", threads=1)
    image = np.random.default_rng(0).normal(5, 2, (1, 3, 4, 4)).astype(np.float32)
    z = (image - 10) / 4 if scalar else image
    raw = np.einsum("b,nbyx->nyx", weights[5 + channel, :, 0, 0], z)
    got = runtime.forward(image, np.ones((1, 1, 4, 4), np.float32))["volume"][:, 0]
    np.testing.assert_allclose(got, offset + gain * raw, rtol=1e-4, atol=1e-5 * abs(gain))


def test_statistics_from_an_npz_beside_the_yaml(run: Import, tmp_path: Path) -> None:
    np.savez(tmp_path / "norm.npz", mean=FORM["input"]["mean"], std=FORM["input"]["std"])
    form = changed("input.mean", "norm.npz")
    form["input"]["std"] = "norm.npz"
    assert run(form).onnx == run().onnx
    np.savez(tmp_path / "norm.npz", mean=np.array([object()]), std=np.ones(3))
    with pytest.raises(UsageError, match=r"input\.mean: cannot read 'mean'"):
        run(form)


def test_a_mask_input_of_the_network_is_fed(run: Import) -> None:
    nodes = [helper.make_node("Mul", ["x", "m"], ["y"])]
    free = ["n", 3, "h", "w"]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, free),
            helper.make_tensor_value_info("m", TensorProto.FLOAT, ["n", 1, "h", "w"]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, free)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    form = {
        **FORM,
        "input": {"graph_input": "x", "graph_valid": "m", "bands": 3},
        "tasks": {"height": {"kind": "continuous"}},
        "outputs": {"height": {"from": "y", "channel": 2}},
    }
    runtime = open_runtime(run(form, model=model), device="cpu", threads=1)
    image = np.full((1, 3, 4, 4), 5, np.float32)
    valid = np.ones((1, 1, 4, 4), np.float32)
    valid[..., 0] = 0
    assert np.array_equal(runtime.forward(image, valid)["height"], 5 * valid)
    with pytest.raises(UsageError, match=r"inputs \['m', 'x'\]; name them"):
        run({**form, "input": {"bands": 3}}, model=model)


def test_a_reach_that_is_too_small_is_said(run: Import, caplog: pytest.LogCaptureFixture) -> None:
    kernel = numpy_helper.from_array(np.ones((1, 3, 9, 9), np.float32), "w")
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Conv", ["x", "w"], ["y"], pads=[4, 4, 4, 4])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, "h", "w"])],
            initializer=[kernel],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    form = {
        **FORM,
        "tasks": {"height": {"kind": "continuous"}},
        "outputs": {"height": {"from": "y"}},
    }
    with caplog.at_level(logging.WARNING, logger="hsimap"):
        assert run({**form, "reach": 4}, model=model).manifest.tile.trim == 4
        assert not caplog.records
        run({**form, "reach": 1}, model=model)
    assert "more than reach = 1 px away" in caplog.text


@pytest.mark.parametrize(
    ("path", "value", "error", "words"),
    [
        ("alignmnt", 2, UsageError, "alignmnt.*alignment"),
        ("outputs.cover.frm", "x", UsageError, "frm.*from"),
        ("outputs.height.from", None, UsageError, r"outputs\.height\.from"),
        ("alignment", None, UsageError, "alignment"),
        ("tasks.cover.kind", "class", UsageError, "cover.*kind"),
        ("outputs.depth", {"from": "values"}, UsageError, r"outputs\.depth is no task"),
        ("outputs.volume", None, UsageError, "task 'volume' has no output"),
        ("outputs.cover.from", "logit", UsageError, "no output 'logit'; it has logits, edge"),
        ("outputs.cover.gain", 2, UsageError, "probabilities have no unit"),
        ("outputs.height.channels", "0:1", UsageError, "channel or channels, not both"),
        ("outputs.volume.channels", "0-1", UsageError, "channels"),
        ("outputs.volume.channels", 241, UsageError, "channels"),
        ("outputs.cover.activation", "none", BundleError, "no probabilities.*softmax or sigmoid"),
        ("outputs.cover.activation", "sigmoid", BundleError, "no probabilities"),
        ("outputs.crown_edge.activation", "none", BundleError, "no probabilities"),
        ("outputs.height.stride", 2, BundleError, "not stride 2"),
        ("outputs.volume.stride", 1, BundleError, "not stride 1"),
        ("outputs.volume.stride", 3, UsageError, "no multiple of stride 3"),
        ("outputs.height.channel", 4, BundleError, "4 channels and 1 are chosen"),
        ("outputs.volume.channels", "1:3", BundleError, "2 are chosen, but 1 are needed"),
        ("outputs.cover.channels", "0:3", BundleError, "3 are chosen, but 4 are needed"),
        ("alignment", 3, UsageError, "no multiple of stride 2"),
        ("input.wavelengths", [450, 550], BundleError, "3 channels, the manifest says 2"),
        ("input.mean", [1, 2], UsageError, r"input\.mean has 2 numbers for 3 bands"),
        ("input.std", 0, UsageError, r"input\.std must be finite, and above 0"),
        ("input.mean", "absent.npz", UsageError, r"cannot read 'mean' from .*absent\.npz"),
        ("input.graph_input", "y", UsageError, r"inputs \['x'\]"),
        ("tile", {"trim": 3}, UsageError, r"tile\.trim 3 is no multiple"),
    ],
)  # fmt: skip
def test_a_form_that_is_wrong_is_refused_in_one_line(
    run: Import, tmp_path: Path, path: str, value: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        run(changed(path, value))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def _edit(model: onnx.ModelProto, change: Callable[[onnx.ModelProto], None]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    change(copy)
    return copy


def _fix_sides(model: onnx.ModelProto) -> None:
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 8


def _float64(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def _custom(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("acme", 1))
    model.graph.node[0].domain = "acme"


def _old(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 11
    del model.graph.node[1].input[1]
    model.graph.node[1].attribute.append(helper.make_attribute("split", [4, 1, 4]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_fix_sides, "fixed shape .* dynamic batch, height and width"),
        (_float64, "is DOUBLE; export the network with float32"),
        (_custom, "operator acme.Conv"),
        (_old, "opset 11; export it with opset 13"),
    ],
)
def test_networks_that_cannot_be_run_safely_are_refused(
    run: Import,
    user_network: onnx.ModelProto,
    change: Callable[[onnx.ModelProto], None],
    words: str,
) -> None:
    with pytest.raises(BundleError, match=words):
        run(model=_edit(user_network, change))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(FORM))
    with pytest.raises(UsageError, match=r"absent\.onnx"):
        import_onnx(tmp_path / "absent.onnx", tmp_path / "m.yaml", tmp_path / "out")
    with pytest.raises(UsageError, match=r"absent\.yaml"):
        import_onnx(tmp_path / "absent.onnx", tmp_path / "absent.yaml", tmp_path / "out")


def test_a_bundle_that_is_there_is_kept(run: Import, tmp_path: Path) -> None:
    before = run().digest
    with pytest.raises(OutputExistsError):
        import_onnx(tmp_path / "net.onnx", tmp_path / "m.yaml", tmp_path / "model")
    assert Bundle.load(tmp_path / "model").digest == before


def test_the_graph_carries_no_name_of_the_user_s_machine(
    run: Import, user_network: onnx.ModelProto
) -> None:
    def sign(model: onnx.ModelProto) -> None:
        model.doc_string = "/etc/anna/secret"
        model.graph.node[0].doc_string = "/etc/anna/secret"
        helper.set_model_props(model, {"path": "/etc/anna/secret"})

    bundle = run(model=_edit(user_network, sign))
    assert b"anna" not in (bundle.path / ONNX).read_bytes()


def test_the_arithmetic_of_the_check_itself() -> None:
    feed = Feed(image="x", valid=None, mean=np.float32([1]), std=np.float32([2]))
    image = np.float32([[[[5, np.nan]]]])
    valid = np.float32([[[[1, 0]]]])
    assert normalise(feed, image, valid).tolist() == [[[[2.0, 0.0]]]]
