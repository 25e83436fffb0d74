"""Small specifications and networks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import nn

from hsimap.networks import (
    MappingNetwork,
    NetworkSettings,
    NetworkSpec,
    NormalisationSpec,
    build_network,
)
from hsimap.networks._spectral_spatial import SpectralSpatial
from hsimap.tasks import Kind, Task, main_output, task_from_mapping

sys.path.insert(0, str(Path(__file__).parent))

Module = TypeVar("Module", bound=nn.Module)
SpecMaker = Callable[..., NetworkSpec]
NetworkMaker = Callable[..., MappingNetwork]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(3)
    yield
    torch.set_num_threads(before)


def tasks_of(*names: str) -> tuple[Task, ...]:
    """Tasks of three kinds, chosen by name."""
    every = {
        "cover": {"kind": "categorical", "classes": {1: "roof", 4: "tree", 7: "soil"}},
        "soil": {"kind": "categorical", "classes": {1: "mineral", 2: "organic"}},
        "height": {"kind": "continuous", "unit": "m", "range": [0, 30]},
        "density": {"kind": "continuous", "unit": "1"},
        "salience": {"kind": "saliency"},
    }
    return tuple(task_from_mapping(name, every[name]) for name in names)


@pytest.fixture
def make_spec() -> SpecMaker:
    """Return a function that builds a specification; keywords are the network's settings."""

    def make(
        *names: str, n_bands: int = 5, patch: int = 32, stride: int = 1, **settings: object
    ) -> NetworkSpec:
        tasks = tasks_of(*(names or ("cover", "height")))
        return NetworkSpec(
            settings=NetworkSettings.model_validate(settings),
            n_bands=n_bands,
            patch=patch,
            tasks=tasks,
            outputs=tuple(main_output(task, stride=stride) for task in tasks),
            normalisation=NormalisationSpec(mean=(100.0,) * n_bands, std=(50.0,) * n_bands),
            scaling={t.name: (12.0, 6.0) for t in tasks if t.kind is Kind.CONTINUOUS},
        )

    return make


@pytest.fixture
def make_network(make_spec: SpecMaker) -> NetworkMaker:
    """Return a function that builds a network in evaluation mode, its numbers away from 0 and 1."""

    def make(*names: str, **options: object) -> MappingNetwork:
        return stir(build_network(make_spec(*names, **options))).eval()

    return make


@pytest.fixture(name="stir")
def _stir() -> Callable[[nn.Module], nn.Module]:
    """Return a function that gives normalisation layers statistics and numbers as if trained."""
    return stir


def stir(network: Module) -> Module:
    """Give normalisation layers statistics and affine numbers as if trained."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.8, 1.6)
            nn.init.uniform_(module.bias, -0.3, 0.3)
        if isinstance(module, SpectralSpatial) and module.n_components:
            nn.init.normal_(module.components)
    return network
