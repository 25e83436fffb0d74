"""Which class builds which architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hsimap.networks import _baseline_settings as baselines
from hsimap.networks._ensemble import Ensemble
from hsimap.networks._gsc_vit import GscVit
from hsimap.networks._mstnet import MstNet
from hsimap.networks._resnet import DeepLab, ResUNet
from hsimap.networks._spectral_spatial import SpectralSpatial
from hsimap.networks._spectraldiff import SpectralDiff
from hsimap.networks._taiga import Taiga
from hsimap.networks._taiga_settings import SpectralSpatialSettings, TaigaSettings
from hsimap.networks._unet import SegNet, UNet
from hsimap.networks._volumes import Mottus, Pham

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hsimap.networks._backbone import Backbone
    from hsimap.networks._settings import NetworkSettings
    from hsimap.networks._spec import NetworkSpec

_BUILDERS: Final[Mapping[type[NetworkSettings], Callable[[NetworkSpec, Any], Backbone]]] = {
    TaigaSettings: Taiga,
    SpectralSpatialSettings: SpectralSpatial,
    baselines.UNetSettings: UNet,
    baselines.SegNetSettings: SegNet,
    baselines.ResUNetSettings: ResUNet,
    baselines.DeepLabSettings: DeepLab,
    baselines.GscVitSettings: GscVit,
    baselines.PhamSettings: Pham,
    baselines.MottusSettings: Mottus,
    baselines.MstNetSettings: MstNet,
    baselines.SpectralDiffSettings: SpectralDiff,
}


def build_backbone(spec: NetworkSpec) -> Backbone:
    """Build the architecture that the settings of a specification name, as often as they say.

    Raises
    ------
    UsageError
        If the settings do not fit the training patch or the outputs.
    """
    build = _BUILDERS[type(spec.settings)]
    members = [build(spec, spec.settings) for _ in range(spec.settings.members)]
    return members[0] if len(members) == 1 else Ensemble(members)
