import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from hsimap.networks import NetworkSettings, build_network, compare, report
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
    assert found.parameters / MILLION == pytest.approx(19.68, rel=0.02)
    assert 19.7 <= found.parameters / MILLION <= 19.9
    assert found.paper_macs == pytest.approx(found.macs_per_pixel * 256**2)
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


BANDS, TASKS = 5, ("cover", "height")
W, D = (8, 12, 16, 20), 8


def convolution(inside, outside, kernel, *, norm=True):
    return inside * outside * kernel**2 + (2 if norm else 1) * outside


def block(inside, outside, middle, *, residual=True):
    if not residual:
        return convolution(inside, outside, 3) + convolution(outside, outside, 3)
    path = convolution(inside, middle, 1) + convolution(middle, middle, 3)
    return path + convolution(middle, outside, 1) + convolution(inside, outside, 1)


def by_hand(*, residual=True, dilated=True, attention=(2, 4, 8), pooling=True, skips=True):
    """Parameters from the equations and the tables of the reading."""
    counts = (1, 2, 1, 2)
    total = convolution(BANDS, W[0], 3) + sum(convolution(a, b, 1) for a, b in pairwise(W))
    for width, count in zip(W, counts, strict=True):
        times = count if residual else 1
        total += times * block(width, width, width // 2, residual=residual)
    if dilated:
        wide = W[3] * 3 // 2
        total += 3 * (convolution(W[3], wide, 3) + convolution(wide, W[3], 1) + 1)
    for stride in attention:
        c = W[(1, 2, 4, 8).index(stride)]
        hidden = max(4, c // 16)
        gate = 3 + c * hidden + hidden + hidden * c + c
        total += convolution(c, c, 1) + gate + 2 * 9 + 1
    deep, more = (D, convolution(W[3], D, 1)) if pooling else (W[3], 0)
    beside = (W[2], W[1]) if skips else (0, 0)
    more += (2 if residual else 1) * block(deep, deep, deep // 2, residual=residual)
    more += block(deep + beside[0], D, D // 4, residual=residual)
    more += block(D + beside[1], D // 2, D // 8, residual=residual)
    return total + 2 * more + (D // 2) * (3 + 1) + 3 + 1


@pytest.mark.parametrize(
    ("settings", "switches"),
    [
        ({}, {}),
        ({"ablation": "full"}, {}),
        ({"residual": False}, {"residual": False}),
        ({"aspp": "none"}, {"dilated": False}),
        ({"attention": ()}, {"attention": ()}),
        ({"attention": (1, 2, 4, 8)}, {"attention": (1, 2, 4, 8)}),
        ({"channel_pooling": False}, {"pooling": False}),
        ({"skips": False}, {"skips": False, "attention": (8,)}),
        ({"ablation": "RDA"}, {"pooling": False}),
        ({"ablation": "RDAM"}, {"pooling": False}),
        ({"ablation": "DAC"}, {"residual": False}),
        ({"ablation": "RD"}, {"pooling": False, "attention": ()}),
        ({"ablation": "R"}, {"pooling": False, "attention": (), "dilated": False}),
        (
            {"ablation": "baseline"},
            {"pooling": False, "attention": (), "dilated": False, "residual": False},
        ),
    ],
)
def test_each_switch_takes_away_what_it_names(make_spec, settings, switches):
    spec = make_spec(*TASKS, widths=W, blocks=(1, 2, 1, 2), decoder_width=D, **settings)
    assert report(build_network(spec)).parameters == by_hand(**switches)


def test_without_batch_normalisation_convolutions_have_a_bias(make_spec):
    sizes = {"widths": W, "blocks": (1, 2, 1, 2), "decoder_width": D}
    network = build_network(make_spec(*TASKS, batch_norm=False, **sizes))
    assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    full = build_network(make_spec(*TASKS, **sizes))
    norms = sum(m.num_features for m in full.modules() if isinstance(m, nn.BatchNorm2d))
    # Two numbers a channel less, one bias more.
    assert report(full).parameters - report(network).parameters == norms


def test_a_strided_convolution_in_place_of_the_average(make_spec):
    sizes = {"widths": W, "blocks": (1, 2, 1, 2), "decoder_width": D}
    full = build_network(make_spec(*TASKS, **sizes))
    strided = build_network(make_spec(*TASKS, downsampling="strided", **sizes))
    more = report(strided).parameters - report(full).parameters
    assert more == sum(3 * a * b for a, b in pairwise(W))
    # With four equal taps it is the average and the 1x1 convolution.
    for old, new in zip(full.backbone.transitions, strided.backbone.transitions, strict=True):
        new[0].weight.data = old[1][0][0].weight.data.expand_as(new[0].weight) / 4
        new[1].load_state_dict(old[1][0][1].state_dict())
        x = torch.randn(2, new[0].in_channels, 8, 8)
        torch.testing.assert_close(new.eval()(x), old.eval()(x))


def test_without_skips_a_decoder_sees_the_deepest_level_alone(make_network):
    network = make_network(*TASKS, widths=W, decoder_width=D, skips=False)
    levels = [torch.randn(1, w, s, s) for w, s in zip(W[1:], (16, 8, 4), strict=True)]
    others = [torch.randn_like(levels[0]), torch.randn_like(levels[1]), levels[2]]
    for decoder in network.backbone.decoders.values():
        assert torch.equal(decoder(levels), decoder(others))


def test_without_dilation_no_rate_is_asked_for(make_network):
    assert make_network(aspp="none", patch=16, rates=(6, 12)).backbone.rates == ()


def test_networks_are_compared_on_the_same_work(make_forest_spec):
    settings = {
        "full": NetworkSettings(preset="tiny"),
        "R": NetworkSettings(preset="tiny", ablation="R"),
        "U-Net": NetworkSettings(architecture="unet"),
    }
    like = make_forest_spec(patch=64)
    rows = compare(settings, like=like)
    assert [row.name for row in rows] == list(settings)
    assert [row.architecture for row in rows] == ["taiga", "taiga", "unet"]
    for row, one in zip(rows, settings.values(), strict=True):
        network = build_network(like.model_copy(update={"settings": one}))
        assert row.size.parameters == sum(p.numel() for p in network.parameters())
    assert rows[1].size.parameters < rows[0].size.parameters
    assert rows[1].size.macs_per_pixel != rows[0].size.macs_per_pixel
