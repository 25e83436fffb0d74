import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hsimap.networks import build_network
from hsimap.networks._layers import ValidBatchNorm
from hsimap.networks._spectral_spatial import window_means


def test_statistics_are_those_of_the_valid_pixels():
    norm, plain = ValidBatchNorm(3), nn.BatchNorm2d(3)
    x = torch.randn(4, 3, 6, 5) * 3 + 1
    mask = (torch.rand(4, 1, 6, 5) < 0.4).float()
    picked = x.movedim(1, 0)[:, mask[:, 0] > 0].T[..., None, None]
    got = norm(x, mask).movedim(1, 0)[:, mask[:, 0] > 0].T[..., None, None]
    torch.testing.assert_close(got, plain(picked))
    torch.testing.assert_close(norm.norm.running_mean, plain.running_mean)
    torch.testing.assert_close(norm.norm.running_var, plain.running_var)


def test_a_batch_without_valid_pixels_leaves_the_statistics_alone():
    norm = ValidBatchNorm(2)
    norm(torch.randn(2, 2, 4, 4) + 9, torch.ones(2, 1, 4, 4))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    y = norm(torch.randn(2, 2, 4, 4), torch.zeros(2, 1, 4, 4))
    assert y.isfinite().all()
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name])


@given(
    sides=st.lists(st.sampled_from([1, 3, 7]), min_size=1, max_size=2),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    by_matrix=st.booleans(),
)
def test_window_means_are_what_cutting_windows_out_gives(sides, height, width, share, by_matrix):
    torch.manual_seed(height * 10 + width)
    mask = (torch.rand(1, 1, height, width, dtype=torch.float64) < share).double()
    x = torch.randn(1, 2, height, width, dtype=torch.float64) * mask
    found = window_means(x, mask, sides, by_matrix=by_matrix)
    for side, means in zip(sides, found, strict=True):
        half = side // 2
        for i in range(height):
            for j in range(width):
                window = (
                    ...,
                    slice(max(i - half, 0), i + half + 1),
                    slice(max(j - half, 0), j + half + 1),
                )
                count = mask[window].sum()
                expected = x[window].sum((0, 2, 3)) / count if count else torch.zeros(2).double()
                torch.testing.assert_close(means[0, :, i, j], expected)


@pytest.mark.parametrize("side", [1, 7, 33])
def test_any_side_is_taken(make_network, side):
    network = make_network(architecture="spectral_spatial", context=(5,), kernel=5)
    assert network.alignment == 1
    assert network.reach == 2 + 2 + 2
    cover, _ = network(torch.randn(1, 5, side, side + 2), torch.ones(1, 1, side, side + 2))
    assert cover.shape == (1, 3, side, side + 2)


def test_it_learns_a_rule_of_the_neighbourhood(make_spec):
    """Class = which half of the bands is brighter, in the mean of the 3 x 3 neighbourhood."""
    torch.manual_seed(0)
    network = build_network(
        make_spec("soil", architecture="spectral_spatial", width=16, dropout=0.1)
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    image = 100 + 50 * torch.randn(4, 5, 24, 24)
    valid = torch.ones(4, 1, 24, 24)
    z = (image[:, :2].mean(1) - image[:, 3:].mean(1))[:, None]
    classes = (nn.functional.avg_pool2d(z, 3, 1, 1)[:, 0] > 0).long()
    for _ in range(60):
        loss = nn.functional.cross_entropy(
            network.logits(image[:3], valid[:3])["soil"], classes[:3]
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        right = network(image[3:], valid[3:])[0].argmax(1) == classes[3:]
    assert right.float().mean() > 0.85


def test_heads_see_the_components_of_the_bands(make_network):
    network = make_network("cover", architecture="spectral_spatial", width=4, components=3)
    backbone = network.backbone
    weights = torch.randn(2, network.spec.n_bands)  # one less than there is room for
    backbone.components.zero_()
    x, mask = torch.randn(1, network.spec.n_bands, 5, 5), torch.ones(1, 1, 5, 5)
    mask[..., 0] = 0
    before = backbone(x * mask, mask)["cover"]
    backbone.show_components(weights)
    head = backbone.heads["head_cover"].weight[:, -3:-1, 0, 0]
    shares = torch.einsum("kb,nbyx->nkyx", weights, x * mask)
    expected = before + torch.einsum("ck,nkyx->ncyx", head, shares)
    torch.testing.assert_close(backbone(x * mask, mask)["cover"], expected)
    assert not backbone.components[2].any()
