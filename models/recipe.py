"""``make model``: the static model from public packages, in steps whose results are kept and used again.

fetch and extract pairs -> clean -> distil -> add words of code -> train -> export -> evaluate. Under an hour on two
cores, most of it fetching and parsing; a second run with the same packages and seed begins where something changed.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
from blake3 import blake3

from benchmarks.retrieval import labelled
from models.bags import Bagger
from models.distill import RECIPE_VERSION, distilled, quantise, write
from models.evaluate import ndcg, reciprocal_ranks
from models.pairs import Pair
from models.sample import Samples
from models.steps import WORK, clean, extracted
from models.train import Schedule, train
from models.vocabulary import extended
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


def tuned(
    table: np.ndarray, samples: Callable[[], Samples], schedule: Schedule, languages: np.ndarray, key: str
) -> np.ndarray:
    """Return the tuned table, from the store if it was made before."""
    kept = WORK / "tables" / f"{key}.npy"
    if not kept.exists():
        made = train(table, samples().draw, schedule, languages)
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part.npy")
        np.save(part, made)
        part.replace(kept)
    found: np.ndarray = np.load(kept)
    return found


def make(schedules: list[Schedule], folder: Path) -> tuple[dict[str, object], list[Path]]:
    """Make a model for each schedule, the first in `folder`; return what they were made from, and their folders."""
    pairs = clean()
    data = data_digest(pairs)
    print(f"{len(pairs)} pairs of {len(counts(pairs))} languages, digest {data[:12]}", flush=True)
    pieces, table = extended(*distilled(), (f"{pair.code} {pair.text}" for pair in pairs))
    before = blake3(table.astype(np.float32).tobytes()).hexdigest()
    samples = cache(lambda: Samples(pairs, Bagger({piece: number for number, piece in enumerate(pieces)})))
    languages = np.unique([pair.language for pair in pairs], return_inverse=True)[1]
    folders: list[Path] = []
    for schedule in schedules:
        key = blake3(json.dumps([RECIPE_VERSION, data, before, asdict(schedule)]).encode()).hexdigest()[:24]
        made = tuned(table.astype(np.float32), samples, schedule, languages, key)
        source: dict[str, object] = {"data_digest": data, "pairs": len(pairs), "schedule": asdict(schedule)}
        folders.append(folder if not folders else WORK / f"seed-{schedule.seed}")
        digest = write(folders[-1], pieces, *quantise(made), made_from=source)
        print(f"{folders[-1]}: {len(pieces)} pieces, digest {digest}", flush=True)
    return {"data_digest": data, "pairs": len(pairs), "languages": counts(pairs)}, folders


def distilled_model() -> StaticModel:
    """Return the model before it was tuned."""
    pieces, table = distilled()
    packed, scales = quantise(table)
    numbers = {piece: number for number, piece in enumerate(pieces)}
    return StaticModel("distilled", "0" * 64, numbers, np.rint(packed.astype(np.float32) * scales[:, None]))


def evaluate(models: dict[str, StaticModel], labels: Path | None, trees: Path | None) -> dict[str, object]:
    """Measure models side by side on the packages held out, and by labels where they are given."""
    held_out = list(extracted(held_out=True))
    found: dict[str, object] = {f"{name} mrr": reciprocal_ranks(model, held_out) for name, model in models.items()}
    if labels and trees:
        suite = labelled.load(str(labels), str(trees))
        for name, model in models.items():
            figures = ndcg(model, suite)
            found[f"{name} ndcg"] = {"mean": float(np.mean(list(figures.values())))} | figures
    return found


def main(arguments: list[str]) -> int:
    """Make the model, measure it, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--seeds", type=int, default=1, help="how many to train; the first is kept, all measured")
    parser.add_argument("--labels", type=Path, help="folder with labels/NAME.json and repos.json")
    parser.add_argument("--trees", type=Path, help="folder with the labelled repositories, each at NAME")
    chosen = parser.parse_args(arguments)
    try:
        figures, folders = make([Schedule(seed=seed) for seed in range(1, chosen.seeds + 1)], chosen.out)
        models = {"distilled": distilled_model()}
        models |= {f"seed {seed}": load_model(folder) for seed, folder in enumerate(folders, 1)}
        figures |= evaluate(models, chosen.labels, chosen.trees)
    except QuarryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    (WORK / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
