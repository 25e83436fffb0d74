import io
import logging
import warnings

import numpy as np
import onnx
import pytest
import torch
from every_architecture import small

from hsimap.networks import architectures
from hsimap.runtimes import export_onnx
from hsimap.runtimes._half import to_half

onnxruntime = pytest.importorskip("onnxruntime")

CASES = [
    pytest.param(("cover", "height", "salience"), {"preset": "tiny", "patch": 128}, id="tiny-128"),
    pytest.param(("cover",), {"attention": (1, 8), "patch": 32}, id="trunk-32"),
    pytest.param(
        ("cover", "height"),
        {"architecture": "spectral_spatial", "width": 16, "context": (5, 15)},
        id="spectral_spatial",
    ),
]


def to_session(network, *, side):
    """Export with dynamic batch, height and width and open the graph on one thread."""
    step = network.alignment
    image = torch.randn(2, 5, side + step, side + 3 * step)
    axes = {0: "batch", 2: "height", 3: "width"}
    graph = io.BytesIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's and onnxscript's own making
        program = torch.onnx.export(
            network,
            (image, torch.ones_like(image[:, :1])),
            dynamo=True,
            verbose=False,
            external_data=False,
            input_names=["image", "valid"],
            output_names=[output.name for output in network.outputs],
            dynamic_shapes=(axes, axes),
        )
    program.save(graph)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        graph.getvalue(), options, providers=["CPUExecutionProvider"]
    )


SHALLOW = {
    "unet": {"widths": (4, 6)},
    "segnet": {"widths": (4, 6), "convs": (1, 1)},
    "res_unet": {},
    "deeplabv3plus": {"rates": (1, 2)},
    "gsc_vit": {"widths": (16, 8)},
    "pham_dense": {},
    "mottus_dense": {},
    "mstnet_style": {},
    "spectraldiff_style": {"widths": (2, 3), "depth": 1},
}
"""What the time of an export allows: it grows with the number of layers."""


def test_every_baseline_is_exported():
    others = {"taiga", "spectral_spatial"}  # are among the cases above
    assert set(SHALLOW) | others == set(architectures())


@pytest.mark.slow
@pytest.mark.parametrize("architecture", sorted(SHALLOW))
def test_every_baseline_passes_the_gate_of_an_export(make_network, architecture):
    network = make_network("cover", "height", **(small(architecture) | SHALLOW[architecture]))
    _, report = export_onnx(network)
    assert len(report.shapes) >= 4
    assert 0 < report.worst <= 2e-5


@pytest.mark.slow
@pytest.mark.parametrize(("names", "options"), CASES)
def test_the_exported_graph_gives_the_same_on_shapes_that_it_was_not_exported_at(
    make_network, names, options
):
    network = make_network(*names, **options)
    side, step = network.spec.patch, network.alignment
    session = to_session(network, side=side)
    for batch, rows, cols, share in (
        (1, side, side, 1.1),
        (3, side, side + step, 0.5),
        (1, side + 5 * step, side + 2 * step, 0.9),
        (2, 2 * side, side + step, 0.0),
        (1, side + step, side + 3 * step, 0.02),
    ):
        image = 100 + 50 * torch.randn(batch, 5, rows, cols)
        valid = (torch.rand(batch, 1, rows, cols) < share).float()
        image[valid.expand_as(image) == 0] = float("nan")
        with torch.no_grad():
            expected = network(image, valid)
        got = session.run(None, {"image": image.numpy(), "valid": valid.numpy()})
        for output, a, b in zip(network.outputs, expected, got, strict=True):
            scale = 6.0 if output.task == "height" else 1.0
            assert np.abs(a.numpy() - b).max() <= 2e-5 * scale, (output.name, batch, rows, cols)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["unet", "res_unet"])
def test_a_network_in_half_precision_gives_nearly_the_same(make_network, architecture):
    settings = small(architecture) | SHALLOW[architecture]
    graph = onnx.load_model_from_string(export_onnx(make_network("cover", "height", **settings))[0])
    half = to_half(graph)
    onnx.checker.check_model(half, full_check=True)
    n_bands = graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    image = np.random.default_rng(1).normal(1000, 300, (1, n_bands, 64, 64)).astype(np.float32)
    feed = {"image": image, "valid": np.ones((1, 1, 64, 64), np.float32)}
    full, reduced = (
        onnxruntime.InferenceSession(
            one.SerializeToString(), providers=["CPUExecutionProvider"]
        ).run(None, feed)
        for one in (graph, half)
    )
    worst = max(np.abs(a - b).max() / a.std() for a, b in zip(full, reduced, strict=True))
    assert 1e-6 < worst < 0.1
