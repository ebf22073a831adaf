"""`python -m benchmarks.torture --seed 1 --minutes 10`: hostile inputs, random stops and damages, and what broke."""

import argparse
import importlib
import pkgutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import multitune
from benchmarks.record import record
from multitune.cli.output import hush

if TYPE_CHECKING:
    from benchmarks.torture.rig import Try


def main() -> None:
    """Meet each hostile input once, try at random until the minutes are over, print findings, record the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=1, help="of all that is random, but times of kills also depend on the speed here"
    )
    parser.add_argument("--minutes", type=float, default=10, help="of all that is random; the rest comes on top")
    parser.add_argument("--no-record", action="store_true", help="leave benchmarks/results alone")
    options = parser.parse_args()
    _import_all()
    tried, findings = Counter[str](), list[dict[str, object]]()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        for number, one in enumerate(_tries(Path(folder), options.seed, options.minutes * 60)):
            tried[f"{one.kind}: {one.command}"] += 1
            if one.finding:
                about = {"try": number, "command": one.command, "kind": one.kind, "about": one.about}
                findings.append({**about, "finding": one.finding.replace(folder, "…").partition("\n")[0]})
                print(f"try {number}, {one.command}, {one.kind} ({one.about}): {one.finding}", flush=True)
    figures = {"seed": options.seed, "tries": dict(sorted(tried.items())), "findings": findings}
    print(f"{sum(tried.values())} tries, {len(findings)} findings")
    if not options.no_record:
        record("torture", f"make torture SEED={options.seed} MINUTES={options.minutes:g}", figures)
    sys.exit(bool(findings))


def _import_all() -> None:
    """Once, so that a fork need not."""
    hush()
    for module in pkgutil.walk_packages(multitune.__path__, "multitune."):
        importlib.import_module(module.name)
    for name in (
        "datasets",
        "matplotlib.pyplot",
        "openai",
        "optuna",
        "rouge_score.rouge_scorer",
        "scipy.stats",
        "sklearn.linear_model",
        "uvicorn",
    ):
        importlib.import_module(name)


def _tries(folder: Path, seed: int, seconds: float) -> "Iterator[Try]":
    """Hostile inputs, then stops and damages in turn until the time is over."""
    from benchmarks.torture import damage, hostile, stops
    from benchmarks.torture.workplace import Workplace

    place = Workplace(folder)
    peace = [stops.undisturbed(subject, place) for subject in place.subjects()]
    stops.require_sight(peace[0], place)
    yield from (hostile.meet(one, place) for one in hostile.inputs())
    place.keep_more()
    quiet = [damage.in_peace(reader, place) for reader in damage.readers(place)]
    ends = time.monotonic() + seconds
    for pair in zip(stops.tries(peace, seed, place), damage.tries(quiet, seed, place), strict=True):
        yield from pair
        if time.monotonic() > ends:
            return


if __name__ == "__main__":
    main()
