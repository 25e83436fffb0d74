"""Each baseline against its published size and an independent oracle."""

import pytest
import torch
from every_architecture import small
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from hsimap.networks import build_network, report
from hsimap.networks._backbone import max_pool
from hsimap.networks._baseline_settings import GscVitSettings
from hsimap.networks._gsc_vit import SeparableAttention
from hsimap.networks._resnet import ResNet
from hsimap.networks._spectraldiff import mean_volume
from hsimap.networks._unet import pool_with_places, unpool
from hsimap.networks._volumes import pool_volume
from hsimap.networks._windows import TransformerBlock, WindowTransformer, cut, lay
from hsimap.tasks import main_output, task_from_mapping

MASKS = st.sampled_from([0.0, 0.2, 0.6, 1.0])


def forest_tasks():
    kinds = [(f"c{n}", n) for n in (4, 2, 3)]
    tasks = [
        task_from_mapping(
            name, {"kind": "categorical", "classes": {k: str(k) for k in range(1, n + 1)}}
        )
        for name, n in kinds
    ]
    return tuple(tasks + [task_from_mapping(f"v{i}", {"kind": "continuous"}) for i in range(10)])


@pytest.mark.parametrize(
    ("architecture", "n_bands", "millions", "giga_macs"),
    [
        ("unet", 128, 31.12, 52.96),
        ("segnet", 128, 29.55, 47.19),
        ("pham_dense", 128, 20.59, None),
        ("pham_dense", 110, 6.14, None),
        ("mottus_dense", 128, 32.70, None),
        ("mottus_dense", 110, 17.96, None),
        ("mstnet_style", 128, 54.28, None),
        ("res_unet", 128, 44.9, None),
    ],
)
def test_the_published_sizes_are_met(make_spec, architecture, n_bands, millions, giga_macs):
    """As counted from public code of the originals, or within 2 % of the paper's Table VII."""
    spec = make_spec(n_bands=n_bands, patch=256, architecture=architecture, preset="paper")
    tasks = forest_tasks()
    outputs = tuple(main_output(task) for task in tasks)
    spec = spec.model_copy(update={"tasks": tasks, "outputs": outputs, "scaling": {}})
    with torch.device("meta"):
        network = build_network(spec)
    found = sum(p.numel() for p in network.parameters()) / 1e6
    assert found == pytest.approx(millions, rel=0.02 if millions > 40 else 0.001)
    if giga_macs:
        assert report(network).paper_macs / 1e9 == pytest.approx(giga_macs, rel=0.002)


@pytest.mark.parametrize(
    ("blocks", "deepest", "parameters"),
    [((3, 4, 6, 3), 32, 23_508_032), ((3, 4, 23, 3), 16, 42_500_160)],
)
def test_the_encoders_are_resnet_50_and_101(blocks, deepest, parameters):
    """The known counts for three bands, less the 2,049,000 of the classifier."""
    with torch.device("meta"):
        network = ResNet(3, 64, (256, 512, 1024, 2048), blocks, deepest=deepest)
        levels = network(torch.zeros(1, 3, 64, 96), torch.ones(1, 1, 64, 96))
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert [64 // level.shape[2] for level in levels] == [2, 4, 8, 16, deepest]


def draw(share, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    flat = torch.rand((shape[0], 1, *shape[-2:]), generator=generator, dtype=torch.float64)
    return x, (flat < share).double()


@given(share=MASKS, seed=st.integers(0, 20))
def test_a_maximum_is_of_the_valid_pixels(share, seed):
    x, mask = draw(share, 2, 3, 6, 8, seed=seed)
    got = max_pool(x, mask)
    for b, c, i, j in torch.cartesian_prod(*(torch.arange(n) for n in got.shape)).tolist():
        cell = (slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2))
        seen = x[b, c][cell][mask[b, 0][cell] > 0]
        assert got[b, c, i, j] == (seen.max() if len(seen) else 0)


def test_an_overlapping_maximum_is_torchs_where_all_is_valid():
    x, mask = draw(1.0, 2, 3, 8, 8)
    expected = functional.max_pool2d(x, 3, stride=2, padding=1)
    assert torch.equal(max_pool(x, mask, 3, padding=1), expected)


@given(share=MASKS, seed=st.integers(0, 20), ties=st.booleans(), side=st.sampled_from([2, 6]))
def test_unpooling_is_torchs(share, seed, ties, side):
    x, mask = draw(share, 2, 3, side, 8, seed=seed)
    if ties:
        x = functional.relu(x).round()
    seen = torch.where(mask > 0, x, -1e30)
    expected, places = functional.max_pool2d(seen, 2, return_indices=True)
    got, where = pool_with_places(x, mask)
    assert torch.equal(got, torch.where(expected > -1e29, expected, 0.0))
    y = torch.randn(got.shape, dtype=torch.float64)
    assert torch.equal(unpool(y, where), functional.max_unpool2d(y, places, 2))


@given(share=MASKS, seed=st.integers(0, 20))
def test_volumes_pool_what_is_valid(share, seed):
    x, mask = draw(share, 2, 3, 4, 4, 6, seed=seed)
    highest, mean = pool_volume(x, mask), mean_volume(x, mask)
    assert highest.shape == (2, 3, 4, 2, 3)
    assert mean.shape == (2, 3, 2, 2, 3)
    for b, i, j in torch.cartesian_prod(*(torch.arange(n) for n in (2, 2, 3))).tolist():
        cell = (slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2))
        seen = x[(b, ..., *cell)][..., mask[b, 0][cell] > 0]
        if not seen.shape[-1]:
            assert not highest[b, :, :, i, j].any()
            assert not mean[b, :, :, i, j].any()
            continue
        assert torch.equal(highest[b, :, :, i, j], seen.amax(-1))
        pairs = seen.reshape(3, 2, -1).mean(-1)
        torch.testing.assert_close(mean[b, :, :, i, j], pairs)


@given(side=st.sampled_from([1, 2, 4]), rows=st.integers(1, 3), cols=st.integers(1, 3))
def test_squares_are_cut_row_by_row_and_laid_back(side, rows, cols):
    x = torch.randn(2, 3, rows * side, cols * side)
    squares = cut(x, side)
    unfolded = functional.unfold(x, side, stride=side).reshape(2, 3, side * side, -1)
    assert torch.equal(squares, unfolded.permute(0, 3, 2, 1).flatten(0, 1))
    assert torch.equal(lay(squares, side, x), x)


@pytest.mark.parametrize("heads", [1, 4])
def test_a_block_is_torchs_transformer_layer(heads):
    block = TransformerBlock(16, heads, dropout=0.0).double().eval()
    layer = nn.TransformerEncoderLayer(
        16, heads, 64, 0.0, "gelu", batch_first=True, norm_first=True, dtype=torch.float64
    ).eval()
    layer.self_attn.in_proj_weight.data = block.to_qkv.weight.data
    layer.self_attn.in_proj_bias.data = block.to_qkv.bias.data
    for ours, theirs in (
        (block.mix, layer.self_attn.out_proj), (block.widen, layer.linear1),
        (block.narrow, layer.linear2), (block.attention_norm, layer.norm1),
        (block.norm, layer.norm2),
    ):  # fmt: skip
        theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 9, 16, dtype=torch.float64)
    seen = torch.tensor([[1.0] * 9, [1, 0, 0, 1, 1, 0, 1, 1, 1], [0, 0, 0, 0, 1, 0, 0, 0, 0]])
    with torch.no_grad():
        expected = layer(x, src_key_padding_mask=seen == 0)
        torch.testing.assert_close(block(x, seen.double()), expected)


def test_the_taps_of_an_encoder_are_evenly_spread():
    encoder = WindowTransformer(8, 2, depth=8, side=2, dropout=0.0).eval()
    x, mask = torch.randn(1, 8, 4, 6), torch.ones(1, 1, 4, 6)
    with torch.no_grad():
        taps = encoder(x, mask, taps=4)
        assert len(taps) == 4
        encoder.blocks = encoder.blocks[:4]
        assert torch.equal(taps[1], encoder(x, mask)[0])


@pytest.mark.parametrize(
    ("architecture", "name"), [("mstnet_style", "encoder"), ("spectraldiff_style", "attention")]
)
def test_an_invalid_token_is_seen_by_no_other(make_network, architecture, name):
    network = make_network(
        "height", patch=32, **{**small(architecture), "window": 32}
    ).double()  # fmt: skip
    backbone = network.backbone
    x, mask = draw(1.0, 1, 5, 32, 32)
    mask[..., :16, :16] = 0
    places = getattr(backbone, name).places
    with torch.no_grad():
        before = backbone.features(x * mask, mask)
        places[:, 0] += torch.randn(places.shape[-1], dtype=torch.float64)
        hidden = backbone.features(x * mask, mask)
        places[:, -1] += torch.randn(places.shape[-1], dtype=torch.float64)
        shown = backbone.features(x * mask, mask)
    far = (..., slice(16, 24), slice(16, 24))
    assert not torch.equal(before[..., 0, 0], hidden[..., 0, 0])
    assert torch.equal(before[far], hidden[far])
    assert not torch.equal(hidden[far], shown[far])


def by_loops(attention, x, mask, settings):
    """The two attentions of a region, pixel by pixel."""
    window, heads, inner = settings.window, settings.heads, settings.head_width
    n = settings.region // window
    qkv, tokens, maps = attention.to_qkv, {}, {}
    for i in range(n):
        for j in range(n):
            cell = (..., slice(i * window, (i + 1) * window), slice(j * window, (j + 1) * window))
            pixels = x[cell].flatten(1).T
            seen = torch.cat([torch.ones(1, dtype=x.dtype), mask[cell].flatten()])
            joined = torch.cat([attention.token[None], pixels])
            q, k, v = functional.linear(joined, qkv.weight).chunk(3, dim=-1)
            mixed = torch.zeros_like(q)
            for h in range(heads):
                own = slice(h * inner, (h + 1) * inner)
                logits = q[:, own] @ k[:, own].T / inner**0.5
                shares = (logits.exp() * seen) / (logits.exp() * seen).sum(1, keepdim=True)
                mixed[:, own] = shares @ v[:, own]
            tokens[i, j], maps[i, j] = mixed[0], mixed[1:] * seen[1:, None]
    cells = list(maps)
    out = torch.zeros(heads * inner, *x.shape[-2:], dtype=x.dtype)
    asked = {}
    for cell in cells:
        split = tokens[cell].reshape(heads, inner)
        normed = functional.layer_norm(
            split, (inner,), attention.token_norm.weight, attention.token_norm.bias
        )
        asked[cell] = attention.token_to_qk(functional.gelu(normed).flatten()).chunk(2)
    some = {
        c: float(
            mask[:, c[0] * window : (c[0] + 1) * window, c[1] * window : (c[1] + 1) * window].any()
        )
        for c in cells
    }
    for i, j in cells:
        for h in range(heads):
            own = slice(h * inner, (h + 1) * inner)
            logits = torch.stack(
                [asked[i, j][0][own] @ asked[c][1][own] / inner**0.5 for c in cells]
            )
            shares = logits.exp() * torch.tensor([some[c] for c in cells])
            shares = shares / shares.sum()
            mixed = sum(w * maps[c][:, own] for w, c in zip(shares, cells, strict=True))
            out[own, i * window : (i + 1) * window, j * window : (j + 1) * window] = (
                mixed.T.reshape(inner, window, window)
            )
    return attention.mix(out[None])[0]


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_separable_attention_is_what_loops_over_windows_give(share):
    settings = GscVitSettings(widths=(8, 8), groups=2, heads=2, head_width=3, window=2, region=6)
    attention = SeparableAttention(settings, 8).double().eval()
    x, mask = draw(share, 1, 8, 6, 12, seed=4)
    if share < 1:
        mask[..., 2:4, :2] = 0
    with torch.no_grad():
        got = attention(x, mask)[0]
        for left in (0, 6):
            part = (..., slice(left, left + 6))
            expected = by_loops(attention, x[0][part], mask[0][part], settings)
            torch.testing.assert_close(got[part], expected)


@pytest.mark.parametrize("architecture", ["pham_dense", "mottus_dense"])
def test_a_dense_network_gives_what_the_patch_network_gives(make_network, architecture):
    """At a cell of 4 x 4 pixels: the same layers without padding on the patch it sees."""
    network = make_network(
        "height", n_bands=12, architecture=architecture, filters=(4, 5, 6), depths=(4, 3, 2),
        spectral_stride=1, shared_width=16, task_width=12,
    ).double()  # fmt: skip
    backbone = network.backbone
    image = torch.randn(1, 12, 80, 80, dtype=torch.float64)
    mask = torch.ones_like(image[:, :1])
    with torch.no_grad():
        dense = backbone.features(image, mask)
        before = {"pham_dense": 1 + 2 + 4 + 3 * 4, "mottus_dense": 1 + 2 * 2 + 4 + 2 * 4}
        row, col = 9, 11
        top, left = (4 * k - before[architecture] for k in (row, col))
        side = {"pham_dense": 45, "mottus_dense": 45}[architecture]
        volume = image[:, None, :, top : top + side, left : left + side]
        for i, (conv, norm) in enumerate(zip(backbone.convs, backbone.norms, strict=True)):
            volume = functional.relu(norm(conv.conv(volume)))
            if i < 2:
                volume = functional.max_pool3d(volume, (1, 2, 2))
            if i == 0:
                volume = backbone.spectral(volume)
        shared = backbone.shared
        patch = functional.relu(functional.conv2d(volume.flatten(1, 2), shared.weight, shared.bias))
    assert patch.shape == (1, 16, 1, 1)
    assert (patch > 0).any()
    torch.testing.assert_close(dense[..., row, col], patch[..., 0, 0])


def test_the_image_pooling_of_deeplab_is_global_on_a_patch(make_network):
    network = make_network(architecture="deeplabv3plus", patch=64).backbone.double()
    x = torch.randn(1, 5, 64, 64, dtype=torch.float64)
    mask = torch.ones_like(x[:, :1])
    with torch.no_grad():
        _, low, _, _, deep = network.encoder(x, mask)
        pooled = network.image(functional.adaptive_avg_pool2d(deep, 1)).expand(-1, -1, 4, 4)
        joined = network.join(torch.cat([*(b(deep) for b in network.pyramid), pooled], dim=1))
        up = functional.interpolate(joined, (16, 16), mode="bilinear")
        expected = network.decoder(torch.cat([up, network.low(low)], dim=1))
        torch.testing.assert_close(network.features(x, mask), expected)


@pytest.mark.parametrize("architecture", ["unet", "mstnet_style"])
def test_it_learns_a_rule_of_the_neighbourhood(make_spec, architecture):
    """Value = mean over 3 x 3 pixels of the difference of two bands."""
    torch.manual_seed(0)
    sizes = {
        "unet": {"widths": (16, 16)},
        "mstnet_style": {"token": 2, "window": 8, "width": 32, "heads": 2, "decoder_width": 32},
    }[architecture]
    network = build_network(make_spec("density", architecture=architecture, **sizes))
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    image, valid = 100 + 50 * torch.randn(5, 5, 32, 32), torch.ones(5, 1, 32, 32)
    truth = functional.avg_pool2d((image[:, :1] - image[:, 1:2]) / 50, 3, 1, 1)
    for _ in range(100):
        loss = functional.mse_loss(network.logits(image[:4], valid[:4])["density"], truth[:4])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        error = network.logits(image[4:], valid[4:])["density"] - truth[4:]
    assert error.square().mean() < 0.6 * truth[4:].var()
