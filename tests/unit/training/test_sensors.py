"""Other sensors: broader bands by their wavelengths, coarser ones with lines between them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hsimap.recipes import AugmentSettings
from hsimap.spectra import Bands, fit_bands
from hsimap.training._batches import disturb
from hsimap.training._sensors import draw_sensors, response, sampled

NM = torch.tensor([700.0, 450.0, 460.0, 471.0, 690.0, 640.0])
"""In no order and unevenly spaced."""
FINE = torch.linspace(400, 1000, 601, dtype=torch.float64)


def draw(n=200, nm=NM, widest=60.0, seed=0):
    return draw_sensors(n, nm, widest_nm=widest, random=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("widest", [0.0, 4.0, 40.0, 5000.0])
def test_a_constant_spectrum_stays_what_it_is(widest):
    found = draw(widest=widest)
    assert found.shape == (200, 6, 6)
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(dim=2), torch.ones(200, 6))
    if widest == 0:
        torch.testing.assert_close(found, torch.eye(6).expand(200, 6, 6), atol=1e-6, rtol=0)


def test_a_gaussian_line_becomes_as_wide_as_two_gaussians_in_a_row():
    line = torch.exp(-4 * np.log(2) * ((FINE - 700) / 30) ** 2)
    found = response(FINE, FINE, fwhm_nm=40.0) @ line
    assert found.argmax() == 300
    above = FINE[found >= found.max() / 2]
    assert float(above[-1] - above[0]) == pytest.approx(50, abs=1.1)
    assert float(found.max()) == pytest.approx(30 / 50, rel=1e-3)


def test_bands_count_by_their_wavelengths_and_not_by_their_order():
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for make in (
        lambda nm: response(nm, nm, fwhm_nm=15.0),
        lambda nm: sampled(nm, fwhm_nm=15.0, step_nm=40.0, offset=0.3),
    ):
        torch.testing.assert_close(make(NM[order]), make(NM)[order][:, order])
    row = response(NM, NM, fwhm_nm=15.0)[1]
    # 10 nm apart at 15 nm of width.
    assert float(row[2] / row[1]) == pytest.approx(2 ** -((20 / 15) ** 2), rel=1e-4)
    assert row[0] < 1e-6


def test_a_coarse_sensor_is_brought_back_as_a_scene_of_it_would_be():
    centres = torch.cat([FINE[:1], 400 + (torch.arange(60) + 0.5) * 10, FINE[-1:]]).double()
    spectrum = 0.3 + 0.1 * torch.sin(FINE / 40) + 0.3 * torch.sigmoid((FINE - 715) / 8)
    coarse = response(FINE, centres, fwhm_nm=11.0) @ spectrum
    found = sampled(FINE, fwhm_nm=11.0, step_nm=10.0, offset=0.5) @ spectrum
    scene = Bands(wavelength_nm=tuple(centres.tolist()), fwhm_nm=None, good=(True,) * 62)
    model = Bands(wavelength_nm=tuple(FINE.tolist()), fwhm_nm=(1.0,) * 601, good=(True,) * 601)
    match = fit_bands(model, scene, resample="always")
    expected = match.weights @ coarse.numpy()[list(match.indices)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    between = found[6:15].diff(n=2)  # 406 to 414 nm lie between 405 and 415
    assert float(between.abs().max()) < 1e-9


def test_every_second_sensor_is_coarse_and_no_two_are_alike():
    found = draw(400, FINE.float(), widest=40.0)
    spectrum = torch.sin(FINE / 6).float()
    kinks = (found @ spectrum).diff(n=2, dim=1).abs()
    straight = (kinks < 1e-4).float().mean(dim=1)
    assert 0.35 < float((straight > 0.5).float().mean()) < 0.6
    assert (found @ spectrum).std(dim=1).unique().numel() > 390
    assert torch.equal(draw(seed=3), draw(seed=3))


def test_smoothing_touches_nothing_where_it_is_off():
    image = torch.rand(40, 6, 2, 2) * 100
    statistics = torch.full((6,), 50.0), torch.full((6,), 5.0)

    def apply(nm=NM, **kwargs):
        random = torch.Generator().manual_seed(1)
        return disturb(
            image, AugmentSettings(**kwargs), statistics=statistics, random=random, wavelength_nm=nm
        )

    off = apply(noise=0.1, brightness=0.1, band_dropout=0.3)
    before = apply(nm=None, noise=0.1, brightness=0.1, band_dropout=0.3, smoothing=60)
    assert off.numpy().tobytes() == before.numpy().tobytes()
    assert torch.equal(apply(smoothing=60), apply(smoothing=60))
    contrast = apply(smoothing=600).std(dim=1).mean(dim=(1, 2)) / image.std(dim=1).mean(dim=(1, 2))
    assert float(contrast.min()) < 0.4
    assert float(contrast.max()) > 0.9
