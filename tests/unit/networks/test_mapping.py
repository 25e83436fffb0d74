import pytest
import torch

from hsimap.errors import UsageError
from hsimap.networks import NormalisationSpec, build_network, report
from hsimap.tasks import main_output

ARCHITECTURES = ["taiga", "spectral_spatial"]


def a_scene(*, batch=2, side=40, n_bands=5, share=0.8):
    image = 100 + 50 * torch.randn(batch, n_bands, side, side)
    return image, (torch.rand(batch, 1, side, side) < share).float()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_outputs_are_what_is_mapped(make_network, architecture):
    network = make_network("cover", "height", "salience", architecture=architecture)
    image, valid = a_scene()
    with torch.no_grad():
        cover, height, salience = network(image, valid)
        raw = network.logits(image, valid)
    assert cover.shape == (2, 3, 40, 40)
    assert height.shape == salience.shape == (2, 1, 40, 40)
    torch.testing.assert_close(cover, raw["cover"].exp() / raw["cover"].exp().sum(1, keepdim=True))
    torch.testing.assert_close(height, (12 + 6 * raw["height"]).clamp(0, 30))
    torch.testing.assert_close(salience, 1 / (1 + (-raw["salience"]).exp()))


def test_values_are_clipped_to_the_range_of_their_task_and_to_no_other(make_network):
    network = make_network("height", "density", architecture="spectral_spatial")
    for head in network.backbone.heads.values():
        head.bias.data.fill_(1e3)
    with torch.no_grad():
        height, density = network(*a_scene())
    assert (height == 30).all()
    assert (density > 5000).all()


@pytest.mark.parametrize("mode", ["standardise", "minmax", "l2", "none"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_lies_under_invalid_pixels_never_shows(make_spec, stir, architecture, mode):
    spec = make_spec(architecture=architecture)
    normalisation = spec.normalisation.model_copy(update={"mode": mode})
    network = stir(build_network(spec.model_copy(update={"normalisation": normalisation}))).eval()
    image, valid = a_scene()
    rubbish = torch.tensor([float("nan"), float("inf"), -float("inf"), 3e38, -9999.0])
    hidden = torch.where(valid > 0, image, rubbish[torch.randint(0, 5, image.shape)])
    with torch.no_grad():
        for a, b in zip(network(image, valid), network(hidden, valid), strict=True):
            assert b.isfinite().all()
            assert torch.equal(a, b)


@pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), -float("inf")])
def test_a_pixel_with_a_band_that_is_no_number_counts_as_invalid(make_network, rubbish):
    network = make_network()
    image, valid = a_scene(share=1.1)
    broken, marked = image.clone(), valid.clone()
    broken[0, 2, 11, 11] = rubbish
    marked[0, 0, 11, 11] = 0
    with torch.no_grad():
        for a, b in zip(network(broken, valid), network(image, marked), strict=True):
            assert torch.equal(a, b)


def test_bands_are_standardised_one_by_one_and_invalid_pixels_are_zero(make_spec):
    normalisation = NormalisationSpec(mean=(1.0, 2, 3, 4, 5), std=(1.0, 2, 4, 8, 16))
    network = build_network(make_spec().model_copy(update={"normalisation": normalisation}))
    image, valid = a_scene()
    got = network.normalise(image, network.mask(image, valid))
    for band in range(5):
        expected = (image[:, band] - (band + 1)) / 2**band * valid[:, 0]
        torch.testing.assert_close(got[:, band], expected)


def test_l2_leaves_the_shape_of_a_spectrum(make_spec):
    spec = make_spec().model_copy(update={"normalisation": NormalisationSpec(mode="l2")})
    network = build_network(spec)
    image, valid = a_scene()
    dim = network.normalise(0.3 * image, valid)
    torch.testing.assert_close(dim, network.normalise(image, network.mask(image, valid)))
    torch.testing.assert_close(dim.square().sum(1, keepdim=True), valid)


def test_input_that_does_not_fit_is_refused(make_network):
    network = make_network()
    with pytest.raises(UsageError, match="multiples of 8 px, got 44 x 40"):
        network(torch.zeros(1, 5, 44, 40), torch.ones(1, 1, 44, 40))
    with pytest.raises(UsageError, match=r"at least 32 px.*got 40 x 24"):
        network(torch.zeros(1, 5, 40, 24), torch.ones(1, 1, 40, 24))


def test_outputs_of_stride_2_are_the_heads_own(make_network):
    fine, coarse = make_network(), make_network(stride=2)
    coarse.load_state_dict(fine.state_dict())
    image, valid = a_scene()
    with torch.no_grad():
        full, half = fine.logits(image, valid), coarse.logits(image, valid)
    for name, value in half.items():
        assert value.shape[-2:] == (20, 20)
        doubled = torch.nn.functional.interpolate(value, scale_factor=2, mode="bilinear")
        torch.testing.assert_close(full[name], doubled)


def test_a_stride_that_is_not_offered_is_refused(make_spec):
    with pytest.raises(UsageError, match=r"stride 1 or 2, got \[\('cover', 4\)"):
        build_network(make_spec(stride=4))
    with pytest.raises(UsageError, match="'cover' has 2; leave"):
        build_network(make_spec(stride=2, architecture="spectral_spatial"))


def test_weights_travel_by_state_dict(make_network):
    first, second = make_network(), make_network()
    image, valid = a_scene()
    with torch.no_grad():
        assert not torch.equal(first(image, valid)[0], second(image, valid)[0])
        second.load_state_dict(first.state_dict(), strict=True)
        assert torch.equal(first(image, valid)[0], second(image, valid)[0])


def test_the_report_counts_a_network_one_can_count_by_hand(make_spec):
    spec = make_spec(
        "cover", architecture="spectral_spatial", width=4, spectral_layers=1, dilations=(2,)
    )
    spectral = 5 * 4
    block = 4 * 4 * 9 + 4 * 4
    head = 8 * 3 + 3
    found = report(build_network(spec))
    assert found.decoder_parameters == head
    assert found.encoder_parameters == spectral + 8 + block + 16
    assert found.parameters == found.encoder_parameters + found.decoder_parameters
    band_check = 5
    assert found.macs_per_pixel == band_check + spectral + block + 8 * 3
    assert (found.reach, found.alignment) == (2, 1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_task_may_have_the_name_of_a_method(make_spec, architecture):
    spec = make_spec("density", architecture=architecture)
    task = spec.tasks[0].model_copy(update={"name": "type"})
    outputs = (main_output(task),)
    renamed = {"tasks": (task,), "outputs": outputs, "scaling": {}}
    network = build_network(spec.model_copy(update=renamed))
    assert set(network.logits(*a_scene())) == {"type"}
