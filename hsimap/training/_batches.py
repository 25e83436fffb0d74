"""From drawn patches to tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from hsimap.training._sensors import draw_sensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from hsimap.recipes import AugmentSettings
    from hsimap.training._folds import FoldView
    from hsimap.training._sampling import Draw


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one step trains on."""

    image: Tensor
    """``(batch, band, y, x) float32``, storage units of the model."""
    valid: Tensor
    """``(batch, 1, y, x) float32``, 1 = valid."""
    targets: Mapping[str, Tensor]
    """By task ``(batch, y, x)``: int64 channel index, -1 = none; or float32 value, NaN = none."""

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; from pinned memory it goes there beside the computing."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Return the batch in pinned memory; torch's loader asks for it by this name."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        targets = {name: change(target) for name, target in self.targets.items()}
        return Batch(image=change(self.image), valid=change(self.valid), targets=targets)


def disturb(
    image: Tensor,
    settings: AugmentSettings,
    *,
    statistics: tuple[Tensor, Tensor],
    random: torch.Generator,
    wavelength_nm: Tensor | None = None,
) -> Tensor:
    """Change the spectra of training patches at random.

    Brightness and noise come first and are smoothed along with the spectra, as a sensor of fewer
    and broader bands averages its light and noise.

    Parameters
    ----------
    image : Tensor
        ``(batch, band, y, x)``, storage units.
    settings : AugmentSettings
        How much brightness, noise, smoothing and band dropout.
    statistics : tuple of Tensor
        Mean and standard deviation of each band, ``(band,)``.
    random : torch.Generator
        Source of all randomness.
    wavelength_nm : Tensor, optional
        Centre of each band, ``(band,)``; without it nothing is smoothed.

    Returns
    -------
    Tensor
        A changed copy, or ``image`` itself where all is off.
    """
    mean, std = (value[None, :, None, None] for value in statistics)
    n, bands = image.shape[:2]
    if settings.brightness:
        factor = torch.randn((n, 1, 1, 1), generator=random) * settings.brightness
        image = image * (1 + factor).clamp_min(0.1)
    if settings.noise:
        image = image + torch.randn(image.shape, generator=random) * std * settings.noise
    if settings.smoothing and wavelength_nm is not None:
        weights = draw_sensors(n, wavelength_nm, widest_nm=settings.smoothing, random=random)
        image = torch.bmm(weights.to(image.dtype), image.flatten(2)).reshape(image.shape)
    if settings.band_dropout:
        width = torch.rand((n, 1), generator=random) * settings.band_dropout * bands
        first = torch.rand((n, 1), generator=random) * (bands + width) - width
        band = torch.arange(bands)[None]
        dropped = ((band >= first) & (band < first + width))[..., None, None]
        image = torch.where(dropped, mean, image)
    return image


def load_batch(draws: Sequence[Draw], views: Sequence[FoldView]) -> Batch:
    """Read and orient the patches of a step.

    Parameters
    ----------
    draws : sequence of Draw
        The patches.
    views : sequence of FoldView
        The training fold of each scene.

    Returns
    -------
    Batch
        On the CPU. A pixel that is invalid has no label: the network sees nothing there.
    """
    images, valids = [], []
    targets: dict[str, list[np.ndarray]] = {}
    for draw in draws:
        view = views[draw.scene]
        values, valid = view.read(draw.window)
        images.append(draw.orient(view.to_network(values)))
        valids.append(draw.orient(valid))
        for name, target in view.targets(draw.window).items():
            none = np.nan if target.dtype.kind == "f" else -1
            shown = np.where(valid, target, target.dtype.type(none))
            targets.setdefault(name, []).append(draw.orient(shown))
    return Batch(
        image=torch.from_numpy(np.stack(images)),
        valid=torch.from_numpy(np.stack(valids)[:, None].astype(np.float32)),
        targets={name: torch.from_numpy(np.stack(parts)) for name, parts in targets.items()},
    )
