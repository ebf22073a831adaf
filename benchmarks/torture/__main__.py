"""`python -m benchmarks.torture --seed 1 --minutes 10`: stop commands at random, and record what broke."""

import argparse
import importlib
import pkgutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import multitune
from benchmarks.record import record


def main() -> None:
    """Try until the minutes are over, print each finding, and record the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=1, help="of all that is random, but times of kills also depend on the speed here"
    )
    parser.add_argument("--minutes", type=float, default=10, help="of all tries; the preparation comes on top")
    parser.add_argument("--no-record", action="store_true", help="leave benchmarks/results alone")
    options = parser.parse_args()
    for module in pkgutil.walk_packages(multitune.__path__, "multitune."):
        importlib.import_module(module.name)  # once, so that a fork need not
    for name in ("sklearn.linear_model", "matplotlib.pyplot", "optuna", "scipy.stats", "rouge_score.rouge_scorer"):
        importlib.import_module(name)
    from benchmarks.torture.stops import require_sight, tries, undisturbed
    from benchmarks.torture.workplace import Workplace

    tried, findings = Counter[str](), list[dict[str, object]]()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        place = Workplace(Path(folder))
        peace = [undisturbed(subject, place) for subject in place.subjects()]
        require_sight(peace[0], place)
        ends = time.monotonic() + options.minutes * 60
        for number, one in enumerate(tries(peace, options.seed, place)):
            tried[f"{one.kind}: {one.command}"] += 1
            if one.finding:
                about = {"try": number, "command": one.command, "kind": one.kind, "stops": list(one.stops)}
                findings.append({**about, "finding": one.finding.replace(folder, "…").partition("\n")[0]})
                print(f"try {number}, {one.command}, {one.kind} ({', '.join(one.stops)}): {one.finding}", flush=True)
            if time.monotonic() > ends:
                break
    figures = {"seed": options.seed, "tries": dict(sorted(tried.items())), "findings": findings}
    print(f"{sum(tried.values())} tries, {len(findings)} findings")
    if not options.no_record:
        record("torture", f"make torture SEED={options.seed} MINUTES={options.minutes:g}", figures)
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
