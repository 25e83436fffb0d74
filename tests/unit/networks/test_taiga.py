import math

import pytest
import torch
from torch import nn

from hsimap.networks import build_network, report
from hsimap.networks._taiga import GatedAspp
from hsimap.tasks import main_output, task_from_mapping

MILLION = 1e6


@pytest.fixture
def make_forest_spec(make_spec):
    """The tasks of the paper: classes of 4, 2 and 3, and ten values, from 128 bands."""

    def make(**options):
        spec = make_spec(n_bands=128, **options)
        tasks = [
            task_from_mapping(
                f"c{n}", {"kind": "categorical", "classes": {k: f"{k}" for k in range(1, n + 1)}}
            )
            for n in (4, 2, 3)
        ]
        tasks += [task_from_mapping(f"v{i}", {"kind": "continuous"}) for i in range(10)]
        outputs = tuple(main_output(task) for task in tasks)
        return spec.model_copy(update={"tasks": tuple(tasks), "outputs": outputs, "scaling": {}})

    return make


def test_paper_has_the_size_and_cost_of_the_paper(make_forest_spec):
    found = report(build_network(make_forest_spec(preset="paper", patch=256)))
    assert 19.7 <= found.parameters / MILLION <= 19.9
    # Table VII: single-task = 2 encoders + 2 decoders = 37.32 M, multitask = 1 + 2 = 19.68 M.
    single = 2 * found.encoder_parameters + found.decoder_parameters
    assert single / MILLION == pytest.approx(37.32, rel=0.01)
    assert found.macs_per_pixel * 256**2 / 1e9 == pytest.approx(41.79, rel=0.015)
    parts = {name: n / MILLION for name, n in found.parts.items()}
    assert parts["stem"] == pytest.approx(0.074, abs=5e-4)
    assert parts["stages"] == pytest.approx(0.053 + 0.282 + 1.680 + 3.352, abs=2e-3)
    assert parts["transitions"] == pytest.approx(0.008 + 0.033 + 0.132, abs=2e-3)
    assert parts["aspp"] == pytest.approx(11.804, abs=5e-4)
    assert parts["attention"] == pytest.approx(0.395, abs=5e-4)
    assert parts["decoders"] == pytest.approx(2 * 0.987, abs=5e-3)
    assert parts["heads"] == pytest.approx(0.0025, abs=1e-4)


@pytest.mark.parametrize(
    ("preset", "millions", "kilo_macs"),
    [("half", 11.2, 379), ("small", 4.5, 145), ("tiny", 1.02, 45)],
)
def test_smaller_presets_stay_small(make_forest_spec, preset, millions, kilo_macs):
    found = report(build_network(make_forest_spec(preset=preset, patch=64)))
    assert found.parameters < millions * MILLION
    assert found.macs_per_pixel < kilo_macs * 1000


def test_both_forms_of_the_aspp_have_the_same_parameters_but_not_the_same_values():
    dense, parallel = GatedAspp(8, (1, 2, 3), dense=True), GatedAspp(8, (1, 2, 3), dense=False)
    parallel.load_state_dict(dense.state_dict())
    x = torch.randn(2, 8, 9, 9)
    dense.eval(), parallel.eval()
    assert not torch.allclose(dense(x), parallel(x))
    # Eq. 5 as printed: each branch takes the input itself.
    gates = [1 / (1 + math.exp(-g)) for g in parallel.gates.tolist()]
    expected = x + sum(g * b(x) for g, b in zip(gates, parallel.branches, strict=True))
    torch.testing.assert_close(parallel(x), expected)


def test_a_closed_gate_shuts_its_branch_out():
    aspp = GatedAspp(8, (1, 2), dense=True).eval()
    aspp.gates.data[:] = -1e4
    x = torch.randn(1, 8, 5, 5)
    torch.testing.assert_close(aspp(x), x)


@pytest.mark.parametrize(
    ("names", "paths"),
    [
        (("cover", "soil"), ["for_classes"]),
        (("height",), ["for_values"]),
        (("cover", "height"), ["for_classes", "for_values"]),
        (("salience",), ["for_classes"]),
    ],
)
def test_only_the_decoders_that_are_needed_are_built(make_network, names, paths):
    assert sorted(make_network(*names).backbone.decoders) == paths


def test_without_attention_any_multiple_of_the_stride_is_taken(make_network):
    network = make_network(attention=(), patch=128)
    assert network.alignment == 8
    image, valid = torch.zeros(1, 5, 16, 24), torch.ones(1, 1, 16, 24)
    assert network(image, valid)[0].shape == (1, 3, 16, 24)


@pytest.mark.parametrize("patch", [32, 64])
def test_training_reaches_every_tap_of_every_kernel(make_spec, patch):
    """A tap that sees only padding in training stays random, and fires on every larger tile."""
    network = build_network(make_spec("cover", "height", preset="tiny", patch=patch))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    moved = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in network.named_parameters()}
    for _ in range(3):
        image = 100 + 50 * torch.randn(4, 5, patch, patch)
        raw = network.logits(image, torch.ones(4, 1, patch, patch))
        classes = torch.randint(0, 3, (4, patch, patch))
        loss = nn.functional.cross_entropy(raw["cover"], classes)
        loss = loss + (raw["height"] - torch.randn(4, 1, patch, patch)).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        for name, parameter in network.named_parameters():
            moved[name] |= parameter.grad != 0
    still = {}
    for name, hit in moved.items():
        # A tap is one place of a kernel, over all its channels.
        taps = hit.any(dim=0).any(dim=0) if hit.ndim > 2 else hit.any()
        if not taps.all():
            still[name] = taps
    assert not still


def test_a_rate_past_the_patch_would_leave_taps_untrained():
    """The fault that the refusal of such rates is for, so that the test above can fail."""
    layer = nn.Conv2d(1, 1, 3, padding=4, dilation=4)
    layer(torch.randn(2, 1, 4, 4)).square().sum().backward()
    assert (layer.weight.grad != 0).sum() == 1
