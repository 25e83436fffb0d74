"""The networks: sizes of the paper, pooling against a global one, tile-size invariance, export."""

import io
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hsimap.errors import UsageError
from hsimap.networks import (
    NetworkSettings,
    NetworkSpec,
    NormalisationSpec,
    build_network,
    dilation_rates,
    report,
)
from hsimap.networks._attention import window_pool
from hsimap.tasks import ClassLabel, Kind, Task, main_output

torch.set_num_threads(1)


def classes(name, n):
    labels = tuple(ClassLabel(code=i + 1, name=f"c{i}", color="#000000") for i in range(n))
    return Task(name=name, kind=Kind.CATEGORICAL, classes=labels)


TAIGA = (
    classes("fertility", 4), classes("soil", 2), classes("species", 3),
    *(Task(name=f"value{i}", kind=Kind.CONTINUOUS) for i in range(10)),
)  # fmt: skip
PAIR = (classes("cover", 3), Task(name="height", kind=Kind.CONTINUOUS, range=(0, 40), unit="m"))


def spec(tasks=PAIR, *, n_bands=6, patch=32, stride=1, **settings):
    return NetworkSpec(
        settings=NetworkSettings(**settings),
        n_bands=n_bands,
        patch=patch,
        tasks=tasks,
        outputs=tuple(main_output(task, stride=stride) for task in tasks),
        normalisation=NormalisationSpec(mean=(0.2,) * n_bands, std=(0.5,) * n_bands),
        scaling={"height": (10.0, 8.0)},
    )


def scrambled(network, seed=0):
    """Give batch normalisation statistics that are not the identity."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def test_the_paper_preset_has_the_sizes_that_table_vii_implies():
    found = report(build_network(spec(TAIGA, n_bands=128, patch=256, preset="paper")))
    assert 19.7e6 <= found.parameters <= 19.9e6
    assert found.decoder_parameters / 2 == pytest.approx(0.987e6, rel=0.01)
    assert found.macs_per_pixel * 256**2 == pytest.approx(42.3e9, rel=0.02)


def test_tiny_maps_fast():
    found = report(build_network(spec(TAIGA, n_bands=128, patch=64, preset="tiny")))
    assert found.parameters == pytest.approx(1.01e6, rel=0.02)
    assert found.macs_per_pixel < 45e3


@given(seed=st.integers(0, 99), share=st.floats(0, 1), block=st.sampled_from([1, 2, 4]))
def test_on_a_patch_the_window_is_the_global_pooling_over_valid_pixels(seed, share, block):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=generator)
    mask = (torch.rand(2, 1, 8, 8, generator=generator) < share).double()
    average, highest = window_pool(x, mask, block=block, n_blocks=8 // block)
    for item in range(2):
        seen = x[item][:, mask[item, 0] > 0]
        mean = seen.mean(dim=1) if seen.numel() else torch.zeros(3, dtype=torch.float64)
        top = seen.amax(dim=1) if seen.numel() else torch.zeros(3, dtype=torch.float64)
        for pooled, expected in ((average, mean), (highest, top)):
            assert pooled.shape == (2, 3, 8 // block, 8 // block)
            torch.testing.assert_close(
                pooled[item], expected[:, None, None].expand_as(pooled[item])
            )


@pytest.mark.parametrize("patch", [32, 128])
@pytest.mark.parametrize("aspp", ["dense_sum", "parallel"])
def test_a_pixel_does_not_depend_on_the_tile_once_the_trim_is_the_reach(patch, aspp):
    torch.manual_seed(0)
    network = scrambled(build_network(spec(patch=patch, preset="tiny", aspp=aspp))).double()
    step = network.alignment
    trim = -(-network.reach // step) * step
    side = 2 * trim + 2 * step
    image = torch.randn(1, 6, side + 2 * step, side + 2 * step, dtype=torch.float64)
    valid = (torch.rand(1, 1, *image.shape[2:]) < 0.7).double()
    valid[:, :, : trim // 2] = 0
    inner = slice(step, step + side)
    with torch.no_grad():
        large = network(image, valid)
        small = network(image[:, :, inner, inner], valid[:, :, inner, inner])
    kept, shifted = slice(trim, side - trim), slice(step + trim, step + side - trim)
    for whole, tile in zip(large, small, strict=True):
        difference = whole[:, :, shifted, shifted] - tile[:, :, kept, kept]
        assert difference.abs().max() <= 1e-9 * whole.std()


def test_the_reach_is_an_upper_bound_that_is_not_idle():
    torch.manual_seed(1)
    network = scrambled(build_network(spec(patch=32, preset="tiny"))).double()
    side = -(-(2 * network.reach + 16) // 8) * 8
    image = torch.randn(1, 6, side, side, dtype=torch.float64, requires_grad=True)
    valid = torch.ones(1, 1, side, side, dtype=torch.float64)
    centre = side // 2
    network.logits(image, valid)["height"][0, 0, centre, centre].backward()
    seen = torch.nonzero(image.grad.abs().sum(dim=1)[0])
    distance = int((seen - centre).abs().max())
    assert distance <= network.reach
    assert distance > network.reach / 2


def test_invalid_pixels_say_nothing_whatever_they_hold():
    torch.manual_seed(2)
    for settings in ({"preset": "tiny"}, {"architecture": "spectral_spatial"}):
        network = scrambled(build_network(spec(**settings)))
        image, valid = torch.randn(1, 6, 32, 32), (torch.rand(1, 1, 32, 32) < 0.6).float()
        poisoned = torch.where(valid > 0, image, torch.tensor(float("nan")))
        with torch.no_grad():
            for clean, dirty in zip(network(image, valid), network(poisoned, valid), strict=True):
                assert torch.isfinite(dirty).all()
                torch.testing.assert_close(clean, dirty, rtol=0, atol=0)


def test_the_graph_gives_probabilities_and_values_in_range():
    torch.manual_seed(3)
    network = scrambled(build_network(spec(preset="tiny")))
    with torch.no_grad():
        cover, height = network(torch.randn(2, 6, 32, 64) * 9, torch.ones(2, 1, 32, 64))
    torch.testing.assert_close(cover.sum(dim=1), torch.ones(2, 32, 64))
    assert cover.shape == (2, 3, 32, 64)
    assert height.min() >= 0
    assert height.max() <= 40


def test_an_output_of_stride_two_is_half_as_large():
    network = build_network(spec(preset="tiny", stride=2)).eval()
    with torch.no_grad():
        cover, height = network(torch.zeros(1, 6, 32, 48), torch.ones(1, 1, 32, 48))
    assert cover.shape == (1, 3, 16, 24)
    assert height.shape == (1, 1, 16, 24)


@pytest.mark.parametrize("patch", [32, 64])
def test_every_tap_of_every_kernel_learns_on_the_training_patch(patch):
    torch.manual_seed(4)
    network = build_network(spec(patch=patch, preset="tiny")).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-2)
    moved = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in network.named_parameters()}
    for _ in range(4):
        logits = network.logits(torch.randn(4, 6, patch, patch), torch.ones(4, 1, patch, patch))
        optimiser.zero_grad()
        sum((value * torch.randn_like(value)).sum() for value in logits.values()).backward()
        optimiser.step()
        for name, parameter in network.named_parameters():
            moved[name] |= parameter.grad != 0
    idle = {name: int((~flags).sum()) for name, flags in moved.items() if not flags.all()}
    # A ReLU unit of the attention's MLP that is off for every sample stays at 0; no tap may.
    assert {name for name in idle if "squeeze" not in name and "excite" not in name} == set()


def test_rates_follow_the_patch_and_never_reach_past_it():
    assert dilation_rates(NetworkSettings(), patch=256, stride=8) == (6, 12, 18)
    assert dilation_rates(NetworkSettings(), patch=32, stride=8) == (1, 2, 2)
    with pytest.raises(UsageError, match="rate 6 at stride 8 reaches 48 px, past the training"):
        dilation_rates(NetworkSettings(rates=(6, 12, 18)), patch=32, stride=8)


def test_a_task_may_have_the_name_of_a_method():
    tasks = (Task(name="values", kind=Kind.CONTINUOUS), Task(name="type", kind=Kind.CONTINUOUS))
    for settings in ({"preset": "tiny"}, {"architecture": "spectral_spatial"}):
        network = build_network(spec(tasks, **settings))
        assert set(network.logits(torch.zeros(2, 6, 32, 32), torch.ones(2, 1, 32, 32))) == {
            "values",
            "type",
        }


def test_the_spec_survives_json():
    original = spec(preset="small", rates=(1, 2))
    assert NetworkSpec.model_validate_json(original.model_dump_json()) == original


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"preset": "tiny"}, {"architecture": "spectral_spatial"}])
def test_onnx_runtime_gives_the_same_numbers_at_any_size(settings):
    torch.manual_seed(5)
    network = scrambled(build_network(spec(patch=64, **settings)))
    axes = {0: "batch", 2: "y", 3: "x"}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.randn(2, 6, 64, 96), torch.ones(2, 1, 64, 96)),
            buffer,
            dynamo=True,
            input_names=["image", "valid"],
            output_names=["cover", "height"],
            dynamic_shapes=(axes, axes),
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        buffer.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    for batch, height, width in ((1, 64, 64), (3, 72, 64), (1, 136, 80), (2, 64, 200)):
        image = torch.randn(batch, 6, height, width)
        valid = (torch.rand(batch, 1, height, width) < 0.7).float()
        with torch.no_grad():
            expected = network(image, valid)
        found = session.run(None, {"image": image.numpy(), "valid": valid.numpy()})
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, theirs.numpy(), atol=2e-5)
