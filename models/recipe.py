"""``make model``: the static model from public packages, in steps whose results are kept and used again.

fetch and extract pairs -> clean -> distil -> train -> export -> evaluate. Under an hour on two cores, most of it
fetching and parsing; a second run with the same packages and seed begins where something changed.
"""

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
from blake3 import blake3

from models.bags import Bagger
from models.distill import distilled, quantise, write
from models.evaluate import labelled, ndcg, reciprocal_ranks
from models.pairs import Pair
from models.sample import Samples
from models.steps import WORK, clean, extracted
from models.train import Schedule, train
from services.core.adapters.static import StaticModel, load_model
from services.core.errors import QuarryError

SHIPPED = Path(__file__).parent / "quarry-static"


def data_digest(pairs: list[Pair]) -> str:
    """Return the digest of the pairs, in their order."""
    found = blake3()
    for pair in pairs:
        found.update(json.dumps(asdict(pair), sort_keys=True).encode())
    return found.hexdigest()


def counts(pairs: list[Pair]) -> dict[str, dict[str, int]]:
    """Return how many pairs of each language have a comment, and how many only a name."""
    found = Counter((pair.language, pair.is_named) for pair in pairs)
    return {
        language: {"commented": found[language, False], "named": found[language, True]}
        for language in sorted({pair.language for pair in pairs})
    }


def tuned(pieces: dict[str, int], table: np.ndarray, pairs: list[Pair], schedule: Schedule, key: str) -> np.ndarray:
    """Return the tuned table, from the store if these pairs were trained on before."""
    kept = WORK / "tables" / f"{key}.npy"
    if not kept.exists():
        samples = Samples(pairs, Bagger(pieces), schedule.seed)
        made = train(table, samples.draw, schedule)
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part.npy")
        np.save(part, made)
        part.replace(kept)
    found: np.ndarray = np.load(kept)
    return found


def make(schedule: Schedule, folder: Path) -> dict[str, object]:
    """Make the model in `folder` and return what it was made from."""
    pairs = clean()
    pieces, table = distilled()
    data = data_digest(pairs)
    print(f"{len(pairs)} pairs of {len(counts(pairs))} languages, digest {data[:12]}")
    key = blake3(json.dumps([data, asdict(schedule), blake3(table.tobytes()).hexdigest()]).encode()).hexdigest()[:24]
    numbers = {piece: number for number, piece in enumerate(pieces)}
    made = tuned(numbers, table.astype(np.float32), pairs, schedule, key)
    source = {"data_digest": data, "pairs": len(pairs), "schedule": asdict(schedule)}
    print(f"{folder}: {len(pieces)} pieces, digest {write(folder, pieces, *quantise(made), made_from=source)}")
    return source | {"languages": counts(pairs)}


def distilled_model() -> StaticModel:
    """Return the model before it was tuned."""
    pieces, table = distilled()
    packed, scales = quantise(table)
    numbers = {piece: number for number, piece in enumerate(pieces)}
    return StaticModel("distilled", "0" * 64, numbers, np.rint(packed.astype(np.float32) * scales[:, None]))


def evaluate(folder: Path, labels: Path | None, trees: Path | None) -> dict[str, object]:
    """Measure the model beside the one it was tuned from; by labels too where they are given."""
    models = {"distilled": distilled_model(), "tuned": load_model(folder)}
    held_out = list(extracted(held_out=True))
    found: dict[str, object] = {name: {"mrr": reciprocal_ranks(model, held_out)} for name, model in models.items()}
    if labels and trees:
        repositories = labelled(labels / "labels", trees, labels / "repos.json")
        for name, model in models.items():
            figures = ndcg(model, repositories)
            found[f"{name} labelled"] = {"mean": float(np.mean(list(figures.values()))), "ndcg": figures}
    return found


def main(arguments: list[str]) -> int:
    """Make the model, measure it, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--labels", type=Path, help="folder with labels/NAME.json and repos.json")
    parser.add_argument("--trees", type=Path, help="folder with the labelled repositories, each at NAME")
    chosen = parser.parse_args(arguments)
    try:
        made = make(Schedule(seed=chosen.seed), chosen.out)
        figures = made | evaluate(chosen.out, chosen.labels, chosen.trees)
    except QuarryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    (WORK / f"figures-{chosen.seed}.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
