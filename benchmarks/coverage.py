"""Calibrate a torch bundle on the validation fold of its recipe, and measure it on the test fold.

    python benchmarks/coverage.py models/boreal-demo pipelines/boreal_demo.yaml --record FILE

For models that were trained before training calibrated them: the bundle is not changed. Prints,
for each continuous variable, how often the intervals of the test fold's stands (or blocks) hold
the truth, and for each categorical one the calibration error before and after the temperature.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hsimap.bundle import Bundle
from hsimap.evaluation import ModelEvaluation, append_result, evaluate_model
from hsimap.labels import TEST
from hsimap.networks import MappingNetwork, NetworkSpec, build_network
from hsimap.recipes import load_recipe
from hsimap.training import open_recipe
from hsimap.training._calibrate import apply_temperature, calibrate
from hsimap.training._validation import LiveRuntime


def network_of(bundle: Bundle) -> MappingNetwork:
    """Return the network of a bundle with its weights."""
    network = build_network(NetworkSpec.model_validate(bundle.manifest.network))
    weights = {name: torch.from_numpy(np.array(w)) for name, w in bundle.weights().items()}
    network.load_state_dict(weights)
    return network.eval()


def summary(before: ModelEvaluation, after: ModelEvaluation) -> dict[str, dict[str, object]]:
    """Return what became of each task."""
    told: dict[str, dict[str, object]] = {}
    for old, new in zip(before.tasks, after.tasks, strict=True):
        if new.task.classes:
            pair = {"before": old.scores("pixel"), "after": new.scores("pixel")}
            told[new.task.name] = {
                f"{name}_{when}": scores[name]
                for when, scores in pair.items()
                for name in ("ece", "nll")
            }
        else:
            told[new.task.name] = new.as_dict()["intervals"]
    return told


def main() -> None:
    """Calibrate, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    bundle = Bundle.load(options.model)
    recipe = load_recipe(options.recipe, data=options.data)
    network, cpu = network_of(bundle), torch.device("cpu")
    with open_recipe(recipe, bundle.manifest.input) as opened:

        def evaluate(model: Bundle) -> ModelEvaluation:
            runtime, tasks = LiveRuntime(network, cpu), recipe.tasks_list()
            return evaluate_model(model, runtime, opened.scenes, tasks=tasks, fold=TEST)

        before = evaluate(bundle)
        found = calibrate(network, opened.scenes, trim=bundle.manifest.tile.trim, device=cpu)
        if found is None:
            raise SystemExit("the validation fold has labels in too few units")
        apply_temperature(network, found)
        manifest = bundle.manifest.model_copy(update={"calibration": found})
        after = evaluate(replace(bundle, manifest=manifest))
    result = {
        "model": bundle.name,
        "bundle": bundle.digest,
        "recipe_digest": recipe.digest,
        "unit": found.unit,
        "calibration": found.model_dump(mode="json"),
        "tasks": summary(before, after),
    }
    print(json.dumps(result["tasks"], indent=1))
    if options.record is not None:
        append_result(options.record, result)


if __name__ == "__main__":
    main()
