"""What a bundle says of the spectra that its network was trained on; also added later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hsimap.bundle import SpectralSpread
from hsimap.errors import InputError
from hsimap.labels import TRAIN
from hsimap.runtimes._torch import load_network
from hsimap.training._commit import git_commit
from hsimap.training._dispensable import find_dispensable
from hsimap.training._scenes import open_recipe
from hsimap.training._statistics import measure

if TYPE_CHECKING:
    from hsimap.bundle import Bundle, InputSpec
    from hsimap.networks import MappingNetwork
    from hsimap.recipes import Recipe
    from hsimap.training._scenes import RecipeScenes
    from hsimap.training._statistics import TrainStatistics


def describe_input(
    network: MappingNetwork, recipe: Recipe, opened: RecipeScenes, found: TrainStatistics
) -> tuple[InputSpec, dict[str, Any]]:
    """Return what a bundle says of its input, and facts for its provenance.

    Parameters
    ----------
    network : MappingNetwork
        With its final weights.
    recipe : Recipe
        Whose ``training.dispensable`` says whether bands are looked for that may be missing.
    opened : RecipeScenes
        The recipe's scenes.
    found : TrainStatistics
        Of the training fold.
    """
    spread = SpectralSpread.of(found.spread)
    described = opened.input.model_copy(update={"mean_spectrum": found.mean, "spread": spread})
    limit = recipe.training.dispensable
    if not limit:
        return described, {}
    known = described.wavelength_nm or range(described.n_bands)
    bands, facts = find_dispensable(
        network,
        opened.scenes,
        spread=described.training_spread or found.spread,
        order=np.argsort(known, kind="stable").tolist(),
        limit=limit,
    )
    return described.model_copy(update={"dispensable": bands}), {"dispensable": facts}


def complete_bundle(bundle: Bundle, recipe: Recipe) -> Bundle:
    """Add to a finished bundle what its recipe's training says of spectra now, if it lacks that.

    Parameters
    ----------
    bundle : Bundle
        Of this recipe.
    recipe : Recipe
        The recipe.

    Returns
    -------
    Bundle
        As it was, or written anew with the same network, the spread of the training spectra and
        the bands that may be missing; the provenance names the commit that measured them.

    Raises
    ------
    InputError
        If the training spectra are not those that the bundle was trained on.
    """
    manifest = bundle.manifest
    told: Any = manifest.provenance.get("dispensable") or {"limit": 0.0}
    if manifest.input.spread is not None and told["limit"] == recipe.training.dispensable:
        return bundle
    with open_recipe(recipe) as opened:
        views = [scene.view(TRAIN) for scene in opened.scenes]
        kinds = {task.name: (task.kind, task.channels) for task in manifest.tasks}
        found = measure(views, kinds, patch=manifest.patch)
        if not np.allclose(found.mean, manifest.input.mean_spectrum or (), rtol=1e-6):
            raise InputError(
                f"the training scenes of recipe {recipe.name} are not those that {bundle.path} was"
                f" trained on: their mean spectra differ; train anew (--overwrite)"
            )
        described, facts = describe_input(load_network(bundle), recipe, opened, found)
    kept = {name: fact for name, fact in manifest.provenance.items() if name != "dispensable"}
    facts["spectra_measured_by"] = git_commit(Path(__file__).parent)
    return bundle.rewrite({"input": described, "provenance": kept | facts})
