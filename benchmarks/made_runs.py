"""Run and study folders that nobody trained: files in their real form with drawn contents, to test pages with."""

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from multitune.core.files import write_json, write_text
from multitune.core.run_folder import RunFolder, StudyFolder
from multitune.core.versions import versions

LABELS = ("bearish", "bullish", "neutral")
NAMES = ("tweets", "entities", "reports", "intents", "headlines", "support", "sums", "medical")
VERDICTS = ("ahead in this run", "behind in this run", "cannot tell")
Facts = dict[str, Any]


def made_run(path: Path, tasks: int = 3, rows: int = 40, steps: int = 60, seed: int = 1) -> RunFolder:
    """A finished run of a shared adapter and one per task, on `rows` test rows of each task."""
    folder, rng, names = RunFolder(path), np.random.default_rng(seed), NAMES[:tasks]
    adapters = {"shared": [*names, "chat"], **{name: [name] for name in names}}
    mixture = {"schedule": "anneal", "shares": None}
    config: Facts = {"name": path.name, "base": "someone/tiny", "method": "lora", "mixture": mixture, "seed": seed}
    task = {"kind": "classify", "labels": list(LABELS), "prompt": "{{ text }}", "answer": "{{ label }}"}
    config["tasks"] = [{**task, "name": name, "data": f"{name}.jsonl"} for name in names]
    chat = {"name": "chat", "kind": "generate", "prompt": "{{ text }}", "answer": "{{ label }}", "share": 0.1}
    config |= {"general": [{**chat, "data": "chat.jsonl"}], "adapters": ["shared", "per_task"]}
    config |= {"train": {"epochs": 2.0, "learning_rate": 0.0005}, "lora": {"rank": 8}}
    write_text(folder.config, yaml.safe_dump(config, sort_keys=False))
    versions().write(folder.versions)
    write_json(folder.data, {name: _data(name, rows) for name in (*names, "chat")})
    write_text(folder.events, "".join(json.dumps(event) + "\n" for event in _events(adapters, steps, rng)))
    best = {key: {"step": steps, "value": 0.5} for key in ("mean", "worst", "weighted")}
    write_json(folder.selection, {name: {"chosen": steps, "by": "mean", "best": best} for name in adapters})
    for name in names:
        _answers(folder, name, rows, rng)
    write_json(folder.scores, _scores(names, rows, rng))
    version = folder.next_routing()
    write_json(version / "table.json", _table(names))
    write_json(version / "report.json", _router(names, rows))
    write_text(folder.adapter("shared") / "adapter_model.safetensors", "0" * 1234)
    return folder


def made_comparison(folder: RunFolder, subject: str = "api-model") -> Path:
    """What `compare` writes of a model behind an API."""
    scores = json.loads(folder.scores.read_text("utf-8"))
    rows: list[Facts] = []
    for place, row in enumerate(scores["transfer"]["shared"]["tasks"]):
        ours, verdict = row["together"], ("worse", "better", "cannot tell")[place % 3]
        shared = {key: row[key] for key in ("task", "metric", "examples", "base")}
        shared |= {"adapter": "shared", "theirs": ours + 0.1, "ours": ours, "difference": -0.1, "low": -0.2}
        rows.append({**shared, "high": -0.01, "p": 0.01, "p_holm": 0.03, "p_mcnemar": None, "verdict": verdict})
    unread = {row["task"]: {"ours": 0, "theirs": 2} for row in rows}
    reading = {"tasks": rows, "unread": unread}
    found = {"against": f"openai:{subject}", "subject": subject, "split": "test", "confidence": 0.95}
    found |= {"resamples": 1000, "ours": {}, "readings": {"strict": reading, "lenient": reading}}
    found |= {
        "prompt_tokens": 12_000,
        "answer_tokens": 340,
        "cost": 0.0123,
        "api_base": "https://api.example/v1",
        "model": subject,
        "cut_short": {rows[0]["task"]: 1},
    }
    path = folder.path / "comparisons" / f"{subject}.json"
    write_json(path, found)
    return path


def _data(name: str, rows: int) -> Facts:
    splits = ("train", "validation", "test")
    digests = {split: f"{abs(hash((name, split))):064x}" for split in splits}
    return {
        "general": name == "chat",
        "digests": digests,
        "rows": {"train": 200, "validation": 40, "test": rows},
        "too_long": {"train": ["a long one"] if name == "tweets" else [], "validation": [], "test": []},
        "labels": list(LABELS),
    }


def _events(adapters: dict[str, list[str]], steps: int, rng: np.random.Generator) -> list[Facts]:
    events: list[Facts] = []
    drawn = {name: dict.fromkeys(sets, 0) for name, sets in adapters.items()}
    for step in range(steps + 1):
        if step:
            moved: Facts = {}
            for name, sets in adapters.items():
                for place, one in enumerate(sets):
                    drawn[name][one] += 8 // len(sets) + (place < 8 % len(sets))
                losses = {one: float(3 * 0.97**step + 0.3 + rng.normal(0, 0.05)) for one in sets}
                moved[name] = {"loss": 1.0, "lr": 1e-4, "grad_norm": 1.0, "tasks": losses}
                moved[name] |= {"shares": dict.fromkeys(sets, 1 / len(sets)), "achieved": dict(drawn[name])}
            sums = {"seconds": 0.5, "tokens": 800, "logical_tokens": 1000, "answer_tokens": 100}
            events.append({"kind": "step", "step": step, "steps": steps, **sums, "adapters": moved})
        if step % max(1, steps // 4) == 0:
            for name, sets in adapters.items():
                losses = {one: {"loss": float(3 * 0.97**step + 0.4), "metric": None} for one in sets if one != "chat"}
                events.append({"kind": "validation", "step": step, "adapter": name, "tasks": losses, "best": ["mean"]})
    return [*events, {"kind": "note", "text": "the base shares prefixes exactly"}]


def _answers(folder: RunFolder, task: str, rows: int, rng: np.random.Generator) -> None:
    golds = rng.choice(LABELS, rows)
    ids = [f"{task}-{place}" for place in range(rows)]
    asked = [json.dumps({"id": id, "prompt": f"Which one?\n\nText {id}"}) + "\n" for id in ids]
    write_text(folder.prompts(task, "test"), "".join(asked))
    for subject, skill in (("base", 0.3), (task, 0.5), ("shared", 0.7)):
        lines: list[str] = []
        for id, gold in zip(ids, golds.tolist(), strict=True):
            output = gold if rng.random() < skill else str(rng.choice(LABELS))
            row = {
                "task": task,
                "id": id,
                "output": output,
                "value": output,
                "gold": gold,
                "score": float(output == gold),
            }
            lines.append(json.dumps({**row, "loss": float(rng.gamma(2.0, 0.5))}) + "\n")
        write_text(folder.predictions(subject, task, "test"), "".join(lines))


def _scores(names: tuple[str, ...], rows: int, rng: np.random.Generator) -> Facts:
    tasks: Facts = {}
    table: list[Facts] = []
    for place, name in enumerate(names):
        base, alone, size = rng.uniform(0.1, 0.3), rng.uniform(0.3, 0.6), float(rng.uniform(0.07, 0.2))
        difference = (size, -size, (size - 0.135) / 2)[place % 3]  # ahead, behind, an interval with zero
        scores = {"base": base, "shared": alone + difference, name: alone}
        tasks[name] = {
            "kind": "classify",
            "metric": "accuracy",
            "scores": {s: {"score": v, "examples": rows, "loss": 1.0, "extra": {}} for s, v in scores.items()},
        }
        row: Facts = {"task": name, "metric": "accuracy", "base": base, "alone": alone, "together": alone + difference}
        row |= {"difference": difference, "low": difference - 0.06, "high": difference + 0.06, "p": 0.02}
        row |= {"p_holm": 0.04, "verdict": VERDICTS[place % 3], "examples": rows, "p_mcnemar": None}
        table.append({**row, "reference": name, "against": "alone"})
    by = {verdict: [row["task"] for row in table if row["verdict"] == verdict] for verdict in VERDICTS}
    points = 100 * float(np.mean([row["difference"] for row in table]))
    summary = {
        "delta_m": 0.1,
        "median_change": 0.1,
        "mean_points": points,
        "points_low": points - 2.0,
        "points_high": points + 2.0,
        "left_out": [],
        "verdicts": by,
    }
    kept = {"kind": "classify", "metric": "accuracy", "examples": 200, "scores": {}}
    after = (("base", 0.41), ("shared", 0.37))
    kept["scores"] = {name: {"score": score, "loss": 1.0, "examples": 200} for name, score in after}
    kept["change"] = {"shared": {"difference": -0.04, "low": -0.07, "high": -0.01, "p": 0.01}}
    return {
        "split": "test",
        "confidence": 0.95,
        "resamples": 1000,
        "tasks": tasks,
        "transfer": {"shared": {"tasks": table, "summary": summary}},
        "general": {"chat": {"examples": 40, "loss": {"base": 3.2, "shared": 2.7}}},
        "retention": {"arithmetic": kept},
    }


def _table(names: tuple[str, ...]) -> Facts:
    rows: Facts = {}
    for place, name in enumerate(names):
        ships = name if place == 1 else "shared"
        even = {"difference": 0.0, "low": 0.0, "high": 0.0, "standard_error": 0.0}
        standings = {who: {"score": score, **even} for who, score in (("base", 0.2), (name, 0.5), ("shared", 0.6))}
        rows[name] = {
            "adapter": ships,
            "path": f"adapters/{ships}",
            "metric": "accuracy",
            "examples": 30 if place == 1 else 120,
        }
        rows[name] |= {"why": "best, 0.600; next alone 0.500", "standings": standings}
    size = {"base": 1_000_000, "adapters": 50_000, "together": 1_050_000, "separate": 1_000_000 * len(names)}
    ships = {"shipped": ["shared", names[1]], "droppable": [names[0]]}
    return {"tasks": rows, "cost": {**size, "ratio": 1.05 / len(names), **ships}}


def _router(names: tuple[str, ...], rows: int) -> Facts:
    even = {"difference": 0.0, "low": 0.0, "high": 0.0}
    confusion = [[rows - 2 if a == b else 1 for b in range(len(names))] for a in range(len(names))]
    quality = {"accuracy": 0.95, "same_adapter": 0.97, "abstained": 0.02, "calibration_error": 0.031}
    scores = {"base": 0.2, "oracle": 0.6, "routed": 0.59, "routed_body": 0.55}
    gone = {"rejected": 0.05, "rejected_cost": 0.021, "unsure": 0.1, "unsure_cost": 0.004}
    task = {"metric": "accuracy", "examples": rows, "scores": scores, "routed": even, "routed_body": even}
    task |= {"rejections": {"prompt": {**gone, "rejected": 0.0, "rejected_cost": 0.0}, "body": gone}}
    return {
        "schema_version": 2,
        "router": "discriminant",
        "features": "embedding",
        "rows": "test",
        "views": {view: {**quality, "confusion": confusion} for view in ("prompt", "body")},
        "kinds": {"discriminant": 0.95, "softmax": 0.93},
        "general": {"chat": {"auroc": 0.87, "routed": 0.7}},
        "left_out": {name: {"auroc": 0.8, "routed": 0.9} for name in names},
        "tasks": dict.fromkeys(names, task),
    }


def made_study(path: Path, tasks: int = 4, arms: int = 20, seed: int = 1) -> Path:
    """A finished study over every way to combine tasks, as far as `arms` go."""
    rng, names = np.random.default_rng(seed), NAMES[:tasks]
    every = [list(group) for size in range(1, tasks + 1) for group in combinations(names, size)]
    mixtures = [every[place % len(every)] for place in range(arms)]
    helps = rng.normal(1.0, 4.0, (tasks, tasks))
    findings: Facts = {
        "study": path.name,
        "confidence": 0.95,
        "tasks": {name: {"metric": "accuracy", "base": {"validation": 0.2, "test": 0.21}} for name in names},
        "arms": [_arm(place, members, names, rng) for place, members in enumerate(mixtures)],
        "sentence": f"Train {names[0]} with {names[1]} and leave the others alone: two tasks gain, none is hurt.",
        "recommended": _recommended(names),
        "comparisons": {"recommended against equal_passes": {"tasks": _proof(names), "summary": _summary(names)}},
        "variants": [
            {"schedule": schedule, "general": 0.1, "seeds": [1], "validation": 0.5, "tasks": _proof(names)}
            | {"summary": _summary(names)}
            for schedule in ("anneal", "sqrt")
        ],
        "helps": _helps(names, helps),
        "synergy": _synergy(names, rng),
        "cost": {"spent_tokens": 4.1e6, "spent_seconds": 5400.0, "everything_tokens": 2.2e7}
        | {"everything_seconds": 29_000.0, "ratio": 5.37},
    }
    write_json(StudyFolder(path).findings, findings)
    versions().write(StudyFolder(path).versions)
    run = {"tasks": [{"name": name} for name in names], "base": "someone/tiny"}
    settings = {"study": {"name": path.name}, "run": run}
    write_text(StudyFolder(path).config, yaml.safe_dump(settings))
    return path


def _arm(place: int, members: Sequence[str], names: tuple[str, ...], rng: np.random.Generator) -> Facts:
    def measured(rows: int) -> Facts:
        return {
            name: {"score": float(rng.uniform(0.2, 0.8)), "loss": float(rng.uniform(0.3, 2.0)), "examples": rows}
            for name in names
        }

    learned = {"key": f"{place:04d}", "name": f"{'+'.join(members)}.{place}", "tasks": members}
    settings = {"general": 0.1, "schedule": "proportional", "seed": place % 3}
    budget = ("together", "equal_passes", "equal_steps")[place % 3]
    spent = {"budget": budget, "steps": 40 + place, "tokens": 9000 + 11 * place, "seconds": 20.0 + place}
    return {**learned, **settings, **spent, "validation": measured(40), "test": measured(150)}


def _recommended(names: tuple[str, ...]) -> Facts:
    groups = [list(names[:2]), *([name] for name in names[2:])]
    tasks: Facts = {}
    for place, name in enumerate(names):
        alone, difference = 0.4 + 0.02 * place, (0.09, 0.07)[place] if place < 2 else 0.0
        reach = 0.05 if place < 2 else 0.0
        tasks[name] = {
            "task": name,
            "group": groups[0] if place < 2 else [name],
            "predicted": difference / 2 + 0.01,
            "difference": difference,
            "low": difference - reach,
            "high": difference + reach,
            "p": 0.01 if reach else 1.0,
            "p_holm": 0.02 if reach else 1.0,
            "base": 0.2,
            "verdict": "helped" if difference - reach > 0 else "cannot tell",
            "metric": "accuracy",
            "alone": alone,
            "together": alone + difference,
            "examples": 150,
        }
    return {
        "groups": groups,
        "why": "best mean gain on validation by loss; one more adapter had to gain 1.0% over all tasks",
        "tasks": tasks,
    }


def _summary(names: tuple[str, ...]) -> Facts:
    verdicts = {"helped": list(names[:2]), "hurt": [], "cannot tell": list(names[2:])}
    return {"delta_m": 0.1, "median_change": 0.1, "mean_points": 4.0, "verdicts": verdicts}


def _proof(names: tuple[str, ...]) -> list[Facts]:
    return list(_recommended(names)["tasks"].values())


def _helps(names: tuple[str, ...], points: np.ndarray) -> Facts:
    def grid(values: np.ndarray) -> list[list[float | None]]:
        return [[None if i == j else float(v) for j, v in enumerate(row)] for i, row in enumerate(values)]

    def verdict(value: float | None) -> str | None:
        return None if value is None else "helped" if value > 4 else "hurt" if value < -4 else "cannot tell"

    middle = grid(points)
    verdicts = [[verdict(value) for value in row] for row in middle]
    return {
        "tasks": list(names),
        "points": middle,
        "low": grid(points - 4),
        "high": grid(points + 4),
        "verdict": verdicts,
    }


def _synergy(names: tuple[str, ...], rng: np.random.Generator) -> Facts:
    pairs = [
        {"tasks": [a, b], "task": a, "effect": float(rng.normal(0, 2)), "combinations": 4}
        for a, b in combinations(names, 2)
    ]
    groups = [
        {"name": name, "tasks": list(names[:size]), "effect": effect, "low": effect - 1, "high": effect + 1}
        | {"combinations": 4}
        for name, size, effect in (("sentiment", 2, 1.8), ("extraction", 3, -0.4))
    ]
    return {
        "pairs": pairs,
        "groups": groups,
        "higher": [{"tasks": list(names[:3]), "task": names[0], "effect": 0.7}],
    }
