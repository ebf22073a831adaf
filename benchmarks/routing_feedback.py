"""Learning from use on real texts: shifted streams recovered by feedback, poisoned feedback held, new tasks proposed.

`make bench PART=routing_feedback DATA=folder`: features of the ten tasks of mixture10.yaml, no training. A stream is
the test rows, by their bodies, in another form: as they are (the null), with typing errors, in the words of a chat,
both, in capitals, and with German in the place of 269 common words. One half of it gets feedback, the other one
measures, in its own form and as in training; `curve` is the share routed right after so many rows of honest feedback.
Feedback is honest, wrong at random in 35%, or names one and the same task in 35%. Each task has an adapter of its own.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.out_of_distribution import mixture_texts
from benchmarks.record import record
from multitune.core.seeds import generator
from multitune.routing.feedback import Claims, agreement, below_floor, held_accuracy, moved_router
from multitune.routing.general_texts import general_vectors
from multitune.routing.router import Router, RouterRows, fit_router
from multitune.serving.learning.learner import ALPHA, sign_test
from multitune.serving.learning.proposals import propose
from multitune.serving.learning.store import HELD_BACK, KeptRequest

COMMAND = "make bench PART=routing_feedback DATA=folder"
POISON, SEEDS = 0.35, 3
EVERY = 100  # rows of feedback between two looks; the server looks oftener
FRAMES = (
    "hi there, quick one for you: {} - thanks a lot!",
    "could you please have a look at the following and let me know? {}",
    "hey, me again. {} any idea??",
    "{} (sent from my phone)",
    "i would be grateful for your help with this: {}",
)
GERMAN: dict[str, str] = json.loads(Path(__file__).with_name("german_words.json").read_text("utf-8"))
Stream = Mapping[str, np.ndarray]  # task -> features of its rows


def typing_errors(text: str, share: float, chance: random.Random) -> str:
    """Letters swapped, left out or doubled in a share of the longer words."""
    words = text.split(" ")
    for place, word in enumerate(words):
        if len(word) > 3 and chance.random() < share:
            at, kind = chance.randrange(1, len(word) - 1), chance.randrange(3)
            swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
            words[place] = (swapped, word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:])[kind]
    return " ".join(words)


def chatty(text: str, chance: random.Random) -> str:
    return chance.choice(FRAMES).format(text).lower()


def german(text: str) -> str:
    """Text with German words where the dictionary has them; names, numbers and the rest stay."""
    return re.sub(r"[A-Za-z']+", lambda word: GERMAN.get(word[0].lower(), word[0]), text)


FORMS: dict[str, Callable[[str, random.Random], str]] = {
    "as in training": lambda text, chance: text,
    "typing errors": lambda text, chance: typing_errors(text, 0.5, chance),
    "chat": chatty,
    "chat with typing errors": lambda text, chance: chatty(typing_errors(text, 0.4, chance), chance),
    "German words": lambda text, chance: german(text),
    "capitals": lambda text, chance: text.upper(),
}


def main() -> None:
    """Every form with every kind of feedback, then a task that no route knows."""
    rows, streams, dolly = features()
    router = fit_router("discriminant", "", rows)
    table = {task: task for task in router.classifier.tasks}
    figures: dict[str, Any] = {"streams": {}, "proposals": {}}
    for name, stream in streams.items():
        found = [one_seed(router, table, stream, streams["as in training"], seed) for seed in range(SEEDS)]
        figures["streams"][name] = averaged(found)
        print(name, figures["streams"][name])
    for task in table:
        figures["proposals"][task] = proposed(rows, task, streams["as in training"], dolly)
        print(task, figures["proposals"][task])
    record("routing_feedback", COMMAND, figures)


def features() -> tuple[RouterRows, dict[str, Stream], np.ndarray]:
    """What the router is fitted on, the bodies of test rows in each form, and dolly's test rows."""
    found = mixture_texts()
    streams: dict[str, Stream] = {}
    for form, change in FORMS.items():
        chance = random.Random(17)
        bodies = {name: views.get("body", views["prompt"]) for name, views in found.tests.items()}
        streams[form] = {name: found.features.of([change(text, chance) for text in of]) for name, of in bodies.items()}
    general = {**found.rows.general, **general_vectors(found.features)}
    return replace(found.rows, general=general), streams, found.dolly


def one_seed(
    router: Router, table: Mapping[str, str], stream: Stream, clean: Stream, seed: int
) -> dict[str, dict[str, float]]:
    """Kind of feedback -> figures, for one way to cut the stream in halves."""
    chance = generator(seed, "routing feedback")
    tasks = [task for task, rows in stream.items() for _ in rows]
    rows, as_trained = (np.concatenate([*of.values()]) for of in (stream, clean))
    order = chance.permutation(len(tasks))
    given, asked = (Claims(rows[half], [tasks[i] for i in half]) for half in np.array_split(order, 2))
    unshifted = Claims(as_trained[order[len(given) :]], asked.tasks)
    found: dict[str, dict[str, float]] = {}
    for kind in ("honest", "35% wrong at random", "35% name one task"):
        claims = given if kind == "honest" else poisoned(given, chance, list(table), kind == "35% name one task")
        live, changes, curve = learned(router, claims, asked, table)
        believing = naive(router, claims)
        found[kind] = {
            "versions": changes,
            "before": share(router, asked, table),
            "learned": share(live, asked, table),
            "naive": share(believing, asked, table),
            **({f"curve, {rows} rows": value for rows, value in curve.items()} if kind == "honest" else {}),
            "as in training, before": share(router, unshifted, table),
            "as in training, learned": share(live, unshifted, table),
            "as in training, naive": share(believing, unshifted, table),
        }
    return found


def share(router: Router, claims: Claims, table: Mapping[str, str]) -> float:
    return float(agreement(router, claims, table).mean())


def poisoned(claims: Claims, chance: np.random.Generator, tasks: list[str], one: bool) -> Claims:
    """Claims of which a share is wrong: any other task, or one and the same."""
    target = tasks[int(chance.integers(len(tasks)))]
    names: list[str] = []
    for task in claims.tasks:
        others = [target] if one else [name for name in tasks if name != task]
        names.append(others[int(chance.integers(len(others)))] if chance.random() < POISON else task)
    return Claims(claims.features, names)


def learned(
    router: Router, claims: Claims, asked: Claims, table: Mapping[str, str]
) -> tuple[Router, int, dict[int, float]]:
    """What is live in the end by the rule of the server, how often that changed, and what was right on the way.

    The rule looks every `EVERY` rows; `asked` is what is measured on, and takes no part in it.
    """
    live, changes, before = router, 0, held_accuracy(router, router, table)
    back, curve = np.arange(len(claims)) % HELD_BACK == 0, dict[int, float]()
    for rows in range(EVERY, len(claims) + 1, EVERY):
        so_far = np.arange(len(claims)) < rows
        moved, others = moved_router(router, claims.chosen(so_far & ~back)), claims.chosen(so_far & back)
        p = sign_test(agreement(moved, others, table), agreement(live, others, table))
        if p < ALPHA and not below_floor(router, before, held_accuracy(moved, router, table)):
            live, changes = moved, changes + 1
        curve[rows] = share(live, asked, table)
    return live, changes, curve


def naive(router: Router, claims: Claims) -> Router:
    """Every claim is believed and moves its task's prototype at once; nothing is checked."""
    moved = deepcopy(router)
    discriminant = moved.require_growing().discriminant
    for row, task in zip(claims.features, claims.tasks, strict=True):
        discriminant.update(f"{task}/body" if f"{task}/body" in discriminant.means else f"{task}/prompt", row)
    moved.calibrate()
    return moved


def averaged(found: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        kind: {name: round(float(np.mean([one[kind][name] for one in found])), 3) for name in found[0][kind]}
        for kind in found[0]
    }


def proposed(rows: RouterRows, task: str, stream: Stream, dolly: np.ndarray) -> dict[str, Any]:
    """What is proposed where one task is unknown and general texts and the other tasks' rows come as well."""
    train, held = ({name: views for name, views in of.items() if name != task} for of in (rows.train, rows.held))
    router = fit_router("discriminant", "", RouterRows(train, held, rows.general))
    table = {name: name for name in train}
    others = {name: of[:40] for name, of in stream.items() if name != task}
    asked = {task: stream[task], "general": dolly, **others}
    features = np.concatenate([*asked.values()])
    owners = [name for name, of in asked.items() for _ in of]
    rejected: list[KeptRequest] = []
    for place, one in enumerate(router.decide(features, table)):
        if one.reason == "out-of-distribution":
            rejected.append(KeptRequest(str(place), one.task, one.adapter, one.reason, features[place]))
    groups = [Counter(owners[int(name)] for name in one.members) for one in propose(rejected, router)]
    mine = [group for group in groups if group.most_common(1)[0][0] == task]
    return {
        "requests": len(stream[task]),
        "rejected": sum(owners[int(one.id)] == task for one in rejected),
        "proposals": len(groups),
        "of the task": len(mine),
        "its requests in them": sum(group[task] for group in mine),
        "other requests in them": sum(group.total() - group[task] for group in mine),
    }


if __name__ == "__main__":
    main()
