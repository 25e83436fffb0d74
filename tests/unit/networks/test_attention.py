import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from hsimap.networks._attention import SpectralSpatialAttention, window_pool


def brute_force(x, mask, *, block, n_blocks):
    """Average and maximum of every window by cutting it out; windows are moved inside at edges."""
    batch, channels, height, width = x.shape
    rows, cols = height // block, width // block
    side, before = block * n_blocks, (n_blocks - 1) // 2
    average = torch.zeros(batch, channels, rows, cols, dtype=x.dtype)
    highest = torch.zeros_like(average)
    for i in range(rows):
        for j in range(cols):
            top = min(max(i - before, 0), rows - n_blocks) * block
            left = min(max(j - before, 0), cols - n_blocks) * block
            for b in range(batch):
                seen = mask[b, 0, top : top + side, left : left + side]
                values = x[b, :, top : top + side, left : left + side]
                if (seen > 0).any():
                    average[b, :, i, j] = (values * seen).sum((1, 2)) / seen.sum()
                    highest[b, :, i, j] = values[:, seen > 0].amax(1)
    return average, highest


@given(
    block=st.sampled_from([1, 2, 4]),
    n_blocks=st.integers(1, 8),
    more=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    share=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    seed=st.integers(0, 99),
)
def test_pooling_is_what_cutting_windows_out_gives(block, n_blocks, more, share, seed):
    torch.manual_seed(seed)
    height, width = ((n_blocks + extra) * block for extra in more)
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    mask = torch.rand(2, 1, height, width, dtype=torch.float64)
    mask = torch.where(torch.rand_like(mask) < share, mask.clamp(min=0.1), 0.0)
    got = window_pool(x, mask, block=block, n_blocks=n_blocks)
    for a, b in zip(got, brute_force(x, mask, block=block, n_blocks=n_blocks), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_an_invalid_pixel_never_counts():
    x = torch.randn(1, 2, 8, 8)
    mask = torch.ones(1, 1, 8, 8)
    mask[..., 2:4, 5] = 0
    changed = torch.where(mask > 0, x, torch.full_like(x, 1e6))
    for a, b in zip(
        window_pool(x, mask, block=2, n_blocks=4),
        window_pool(changed, mask, block=2, n_blocks=4),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_windows_without_a_valid_pixel_pool_to_zero():
    average, highest = window_pool(
        torch.randn(1, 2, 16, 8) - 5, torch.zeros(1, 1, 16, 8), block=2, n_blocks=4
    )
    assert not average.any()
    assert not highest.any()


class GlobalAttention(nn.Module):
    """The paper's block with CBAM's global pooling, written from the equations."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        block = self.block
        features = block.features(x)
        pooled = (
            functional.adaptive_avg_pool2d(features, 1),
            functional.adaptive_max_pool2d(features, 1),
        )
        kernel = block.gate.neighbours.weight.view(1, 1, 3)
        squeeze, excite = block.gate.squeeze, block.gate.excite
        total = torch.zeros(x.shape[:2], dtype=x.dtype)
        for vector in pooled:
            mixed = functional.conv1d(vector.flatten(1).unsqueeze(1), kernel, padding=1)[:, 0]
            hidden = functional.relu(
                functional.linear(mixed, squeeze.weight.flatten(1), squeeze.bias)
            )
            total = total + functional.linear(hidden, excite.weight.flatten(1), excite.bias)
        weighted = features * torch.sigmoid(total)[:, :, None, None]
        summary = torch.stack([weighted.mean(1), weighted.max(1).values], dim=1)
        return x + weighted * torch.sigmoid(block.spatial(summary))


@pytest.mark.parametrize(("block", "n_blocks"), [(1, 4), (2, 8), (4, 5), (16, 1)])
def test_on_one_window_it_is_the_papers_global_attention(stir, block, n_blocks):
    attention = stir(SpectralSpatialAttention(32, block=block, n_blocks=n_blocks)).double().eval()
    side = block * n_blocks
    x = torch.randn(2, 32, side, side, dtype=torch.float64)
    mask = torch.ones(2, 1, side, side, dtype=torch.float64)
    torch.testing.assert_close(attention(x, mask), GlobalAttention(attention)(x))


def test_on_more_than_one_window_it_is_not(stir):
    attention = stir(SpectralSpatialAttention(32, block=2, n_blocks=4)).double().eval()
    x = torch.randn(1, 32, 24, 24, dtype=torch.float64)
    x[..., 12:] += 4
    mask = torch.ones(1, 1, 24, 24, dtype=torch.float64)
    assert (attention(x, mask) - GlobalAttention(attention)(x)).abs().max() > 1e-3
