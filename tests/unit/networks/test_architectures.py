"""What every architecture must obey."""

import math

import pytest
import torch
from every_architecture import SMALL, small
from torch import nn

from hsimap.errors import UsageError
from hsimap.geometry import round_up
from hsimap.networks import NetworkSettings, architectures, build_network, report

EVERY = pytest.mark.parametrize("architecture", sorted(SMALL))


def test_all_are_tested():
    assert {case.split("-")[0] for case in SMALL} == set(architectures())


def a_scene(height, width, *, gaps=True):
    image = 100 + 50 * torch.randn(1, 5, height, width, dtype=torch.float64)
    image[..., width // 3 :] += 120
    valid = torch.ones(1, 1, height, width, dtype=torch.float64)
    if gaps:
        valid = (torch.rand_like(valid) < 0.7).double()
        valid[..., height // 4 : height // 2, : width // 2] = 0
    return image, valid


def difference(whole, tile, spread):
    """Largest difference, in standard deviations of the whole output."""
    assert spread > 1e-7  # else it says nothing
    return float((whole - tile).abs().max() / spread)


@EVERY
def test_outputs_have_the_size_of_the_input(make_network, architecture):
    network = make_network("cover", "height", "salience", **small(architecture))
    side = round_up(network.spec.patch, network.alignment)
    image, valid = a_scene(side, side + 2 * network.alignment)
    with torch.no_grad():
        cover, height, salience = network.float()(image.float(), valid.float())
    assert cover.shape == (1, 3, *image.shape[-2:])
    assert height.shape == salience.shape == (1, 1, *image.shape[-2:])
    torch.testing.assert_close(cover.sum(1), torch.ones_like(cover[:, 0]))


@EVERY
def test_a_tile_gives_what_the_whole_gives_beyond_the_reach(make_network, architecture):
    network = make_network(**small(architecture)).double()
    step = network.alignment
    trim, kept = round_up(network.reach, step), 2 * step
    side = 2 * trim + kept
    image, valid = a_scene(side + 2 * step, side + step)
    with torch.no_grad():
        whole = network(image, valid)
        for row, col in ((step, 0), (2 * step, step)):
            window = (..., slice(row, row + side), slice(col, col + side))
            tiles = network(image[window], valid[window])
            inner = (..., slice(trim, trim + kept), slice(trim, trim + kept))
            for a, b in zip(whole, tiles, strict=True):
                assert difference(a[window][inner], b[inner], a.std()) <= 1e-9


@EVERY
def test_at_the_borders_more_padding_changes_nothing(make_network, architecture):
    network = make_network(**small(architecture)).double()
    step = network.alignment
    trim, more = round_up(network.reach, step), 2 * step
    height, width = round_up(21, step), round_up(34, step)
    image, valid = a_scene(height, width)
    pad = nn.functional.pad
    with torch.no_grad():
        once = network(*(pad(t, [trim] * 4) for t in (image, valid)))
        twice = network(*(pad(t, [trim + more] * 4) for t in (image, valid)))
    for a, b in zip(once, twice, strict=True):
        less = a[..., trim : trim + height, trim : trim + width]
        further = b[..., trim + more :, trim + more :][..., :height, :width]
        assert difference(less, further, less.std()) <= 1e-9


@EVERY
def test_the_reach_bounds_what_a_pixel_sees(make_network, architecture):
    network = make_network("height", **small(architecture)).double()
    step = network.alignment
    side = 2 * round_up(network.reach + 1, step) + step
    image, valid = a_scene(side, side, gaps=False)
    image.requires_grad_()
    first = side // 2 // step * step
    farthest = 0
    for row in {first, first + 1, first + step // 2, first + step - 1}:
        image.grad = None
        network.logits(image, valid)["height"][0, 0, row, row].backward()
        seen = image.grad[0].abs().sum(0)
        for axis in (0, 1):
            hit = seen.sum(axis).nonzero().flatten()
            farthest = max(farthest, row - int(hit.min()), int(hit.max()) - row)
    assert network.reach / 2 < farthest <= network.reach


@EVERY
def test_what_lies_under_invalid_pixels_never_shows(make_network, architecture):
    network = make_network(**small(architecture))
    side = 2 * round_up(network.spec.patch, network.alignment)
    image, valid = (t.float() for t in a_scene(side, side))
    rubbish = torch.tensor([float("nan"), float("inf"), -float("inf"), 3e38, -9999.0])
    hidden = torch.where(valid > 0, image, rubbish[torch.randint(0, 5, image.shape)])
    nowhere = torch.zeros_like(valid)
    with torch.no_grad():
        for a, b in zip(network(image, valid), network(hidden, valid), strict=True):
            assert torch.equal(a, b)
        assert all(part.isfinite().all() for part in network(hidden, nowhere))


@EVERY
def test_training_reaches_every_tap_of_every_kernel(make_spec, architecture):
    """A tap that sees only padding in training stays random, and fires on every larger tile."""
    spec = make_spec("cover", "height", **small(architecture))
    network, patch = build_network(spec), round_up(spec.patch, 16)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    moved = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in network.named_parameters()}
    for _ in range(4):
        image = 100 + 50 * torch.randn(3, 5, patch, patch)
        raw = network.logits(image, torch.ones(3, 1, patch, patch))
        answers = len(raw["cover"])  # of each member of an ensemble
        classes = torch.randint(0, 3, (answers, patch, patch))
        loss = nn.functional.cross_entropy(raw["cover"], classes)
        loss = loss + (raw["height"] - torch.randn(answers, 1, patch, patch)).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            moved[name] |= parameter.grad != 0
    still = {}
    for name, hit in moved.items():
        # A tap is one place of a kernel, over all its channels.
        taps = hit.flatten(0, 1).any(dim=0) if hit.ndim > 2 else hit.any()
        if not taps.all():
            still[name] = taps
    assert not still


@EVERY
def test_the_report_counts_all_parameters(make_spec, architecture):
    network = build_network(make_spec(**small(architecture)))
    found = report(network)
    assert found.parameters == sum(p.numel() for p in network.parameters())
    assert found.encoder_parameters + found.decoder_parameters == found.parameters
    assert found.decoder_parameters > 0
    assert found.macs_per_pixel > 0


@EVERY
def test_a_stride_that_is_not_offered_is_refused(make_spec, architecture):
    with pytest.raises(UsageError, match="stride"):
        build_network(make_spec(stride=4, **small(architecture)))


@pytest.mark.parametrize("architecture", sorted(set(architectures()) - {"spectral_spatial"}))
@pytest.mark.parametrize("preset", ["half", "small", "tiny"])
def test_every_preset_builds(make_spec, architecture, preset):
    # 64 pixels and 128 bands, as the recipes have.
    spec = make_spec(n_bands=128, patch=64, architecture=architecture, preset=preset)
    stored = spec.settings.model_dump()
    assert stored["preset"] == preset
    with torch.device("meta"):
        network = build_network(spec)
    assert network.spec.settings == NetworkSettings.model_validate(stored)
    n_parameters = sum(p.numel() for p in network.parameters())
    if preset == "tiny":
        assert n_parameters < 2.2e6


@pytest.mark.parametrize(
    ("architecture", "patch", "words"),
    [
        ("unet", 8, "of unet reaches 8 px to a side, past the training patch of 8 px"),
        ("segnet", 8, "of segnet reaches 8 px"),
        ("res_unet", 32, "of res_unet reaches 32 px"),
        ("deeplabv3plus", 32, "of deeplabv3plus reaches 32 px"),
        ("deeplabv3plus", 40, "of deeplabv3plus must be a multiple of 16, got 40"),
        ("pham_dense", 12, "of pham_dense reaches 12 px"),
        ("mstnet_style", 20, "divide the training patch of 20 px; got 16"),
    ],
)
def test_a_patch_that_leaves_taps_untrained_is_refused(make_spec, architecture, patch, words):
    settings = {**small(architecture), "patch": patch}
    if architecture == "unet":
        settings["widths"] = (4, 4, 4, 4)
    if architecture == "segnet":
        settings |= {"widths": (4, 4, 4, 4), "convs": (1, 1, 1, 1)}
    with pytest.raises(UsageError, match=words):
        build_network(make_spec(**settings))


def test_the_probabilities_follow_the_temperature_and_the_classes_do_not(make_network):
    network = make_network("cover", "soil", "height", architecture="spectral_spatial")
    image, valid = (t.float() for t in a_scene(20, 20))
    spec = network.spec.model_copy(update={"temperature": {"cover": 2.5}})
    warm = build_network(spec).eval()
    warm.load_state_dict(network.state_dict())
    with torch.no_grad():
        plain, cooled = network(image, valid), warm(image, valid)
        raw, same = network.logits(image, valid), warm.logits(image, valid)
    assert all(torch.equal(raw[name], same[name]) for name in raw)
    power = plain[0].double() ** (1 / 2.5)
    torch.testing.assert_close(
        cooled[0].double(), power / power.sum(1, keepdim=True), rtol=1e-4, atol=1e-6
    )
    assert not torch.equal(plain[0], cooled[0])
    assert torch.equal(plain[0].argmax(1), cooled[0].argmax(1))
    assert torch.equal(plain[1], cooled[1])
    assert torch.equal(plain[2], cooled[2])


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_is_a_positive_number_of_a_categorical_task(make_spec, value):
    spec = make_spec("cover", "height").model_dump()
    with pytest.raises(ValueError, match="temperature"):
        type(make_spec()).model_validate(spec | {"temperature": {"cover": value}})
    with pytest.raises(ValueError, match=r"\['height'\], which is no categorical task"):
        type(make_spec()).model_validate(spec | {"temperature": {"height": 1.0}})
