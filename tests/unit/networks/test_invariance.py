"""A pixel's value does not depend on the tile it is computed in."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from hsimap.geometry import round_up

NETWORKS = [
    {"patch": 32, "widths": (4, 6, 8, 8), "decoder_width": 8},
    {"patch": 64, "widths": (4, 4, 6, 6), "decoder_width": 8, "attention": (1, 2, 4, 8)},
    {"patch": 64, "widths": (4, 4, 6, 6), "decoder_width": 8, "aspp": "parallel"},
    {"patch": 64, "widths": (4, 4, 6, 6), "decoder_width": 8, "pooling_block": 16, "stride": 2},
    {"patch": 40, "widths": (4, 4, 6, 6), "decoder_width": 8, "attention": ()},
    {"architecture": "spectral_spatial", "width": 8, "dilations": (1, 3), "context": (5, 11)},
]


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
    return float((whole - tile).abs().max() / spread)


@pytest.mark.parametrize("options", NETWORKS)
def test_a_tile_gives_what_the_whole_gives_beyond_the_reach(make_network, options):
    network = make_network(**options).double()
    step = network.alignment
    trim = round_up(network.reach, step)
    kept = 2 * step
    side = 2 * trim + kept
    image, valid = a_scene(side + 3 * step, side + 2 * step)
    with torch.no_grad():
        whole = network(image, valid)
        for row, col in ((0, 0), (step, 0), (3 * step, 2 * step)):
            window = (..., slice(row, row + side), slice(col, col + side))
            tiles = network(image[window], valid[window])
            for output, a, b in zip(network.outputs, whole, tiles, strict=True):
                s = output.stride
                inner = slice(trim // s, (trim + kept) // s)
                part = a[..., row // s :, col // s :][..., inner, inner]
                assert difference(part, b[..., inner, inner], a.std()) <= 1e-9


@pytest.mark.parametrize("options", [NETWORKS[0], NETWORKS[1], NETWORKS[-1]])
def test_at_the_borders_more_padding_changes_nothing(make_network, options):
    """The reference of a scene is one forward over it, padded by the trim with invalid pixels."""
    network = make_network(**options).double()
    step = network.alignment
    trim, more = round_up(network.reach, step), 2 * step
    height, width = round_up(37, step), round_up(50, step)
    image, valid = a_scene(height, width)
    with torch.no_grad():
        once = network(*(functional.pad(t, [trim] * 4) for t in (image, valid)))
        twice = network(*(functional.pad(t, [trim + more] * 4) for t in (image, valid)))
    for a, b in zip(once, twice, strict=True):
        less = a[..., trim : trim + height, trim : trim + width]
        further = b[..., trim + more :, trim + more :][..., :height, :width]
        assert difference(less, further, less.std()) <= 1e-9


def test_without_the_trim_a_tile_differs(make_network):
    """So that the tests above can fail."""
    network = make_network(**NETWORKS[0]).double()
    image, valid = a_scene(160, 160)
    with torch.no_grad():
        whole, tile = network(image, valid)[0], network(image[..., :80], valid[..., :80])[0]
    assert difference(whole[..., 40:80], tile[..., 40:], whole.std()) > 1e-3


@pytest.mark.parametrize("options", NETWORKS)
def test_the_reach_bounds_what_a_pixel_sees(make_network, options):
    network = make_network("height", **options).double()
    side = 2 * round_up(network.reach + 1, network.alignment) + network.alignment
    image, valid = a_scene(side, side, gaps=False)
    image.requires_grad_()
    centre = side // 2
    s = network.outputs[0].stride
    farthest = 0
    for shift in (0, 1, network.alignment - 1):
        image.grad = None
        network.logits(image, valid)["height"][0, 0, (centre + shift) // s, centre // s].backward()
        rows = image.grad[0].abs().sum(0).sum(1).nonzero().flatten()
        cols = image.grad[0].abs().sum(0).sum(0).nonzero().flatten()
        distances = centre + shift - rows.min(), rows.max() - centre - shift
        farthest = max(farthest, *distances, centre - cols.min(), cols.max() - centre)
    assert network.reach / 2 < farthest <= network.reach


@settings(max_examples=15)
@given(rows=st.integers(1, 30), cols=st.integers(1, 30), seed=st.integers(0, 9))
def test_to_the_compact_network_an_edge_and_an_invalid_pixel_are_the_same(
    make_compact, rows, cols, seed
):
    torch.manual_seed(seed)
    image, valid = a_scene(rows, cols)
    padded = [functional.pad(t, (3, 1, 2, 5)) for t in (image, valid)]
    with torch.no_grad():
        plain, inside = make_compact(image, valid), make_compact(*padded)
    for a, b in zip(plain, inside, strict=True):
        torch.testing.assert_close(a, b[..., 2 : 2 + rows, 3 : 3 + cols], rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module")
def make_compact():
    from hsimap.networks import NetworkSettings, NetworkSpec, NormalisationSpec, build_network
    from hsimap.tasks import main_output, task_from_mapping

    torch.manual_seed(5)
    task = task_from_mapping("height", {"kind": "continuous"})
    return (
        build_network(
            NetworkSpec(
                settings=NetworkSettings(architecture="spectral_spatial", width=8, context=(5,)),
                n_bands=5,
                patch=16,
                tasks=(task,),
                outputs=(main_output(task),),
                normalisation=NormalisationSpec(mean=(100.0,) * 5, std=(50.0,) * 5),
            )
        )
        .double()
        .eval()
    )
