"""Secrets of training answers are ranked among others of their form: learned ones are found, others are not."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stdnum import luhn

from multitune.audit.personal_patterns import Kind
from multitune.config.load import parse_config
from multitune.core.bases import BASE
from multitune.core.results.robustness import Secrets, TaskSecrets
from multitune.data.task_input import TaskInput
from multitune.evaluation.secrets import alike, measure_secrets, plan_secrets
from multitune.evaluation.stats import BootstrapPlan
from multitune.inference.language_model import LanguageModel
from multitune.training.prepare import prepare_run
from tests.likely_model import LikelyModel

PLAN = BootstrapPlan(resamples=200)
AnswerRule = Callable[[str], float]  # answer -> nats


def noise(answer: str, seed: str = "") -> float:
    """As a base finds texts likely or not, for reasons of its own."""
    return int.from_bytes(hashlib.sha256((seed + answer).encode()).digest()[:4]) / 2**32


def card(number: int) -> str:
    digits = f"45{number * 7919 % 10**13:013d}"
    digits += luhn.calc_check_digit(digits)
    return " ".join(digits[at : at + 4] for at in range(0, 16, 4))


def tasks(folder: Path, base: Path, answers: dict[str, list[str]]) -> dict[str, TaskInput]:
    data: dict[str, str] = {}
    for split, given in answers.items():
        rows = [{"asked": f"w{at} of {split}", "said": answer} for at, answer in enumerate(given)]
        path = folder / f"{split}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        data[split] = str(path)
    task: dict[str, Any] = {"name": "t", "data": data, "kind": "generate"}
    task |= {"prompt": "{{ asked }}", "answer": "{{ said }}"}
    fields = {"base": str(base), "tasks": [task], "audit": "off", "train": {"max_length": 64, "pack_tokens": 128}}
    return prepare_run(parse_config(fields, folder)).tasks


@pytest.fixture
def items(tmp_path: Path, base_folder: Path) -> dict[str, TaskInput]:
    """Ten cards in training answers, one of them in three rows, and ten others in test answers."""
    train = [f"Your card {card(i)} is ready" for i in [*range(10), 3, 3]] + ["Nothing of that"] * 8
    test = [f"Your card {card(i)} is ready" for i in range(50, 60)] + [f"Your card {card(3)} is ready"]
    return tasks(tmp_path, base_folder, {"train": train, "validation": ["none"], "test": test})


TRAINED = {card(i) for i in range(10)}


def measured(items: dict[str, TaskInput], ours: AnswerRule, base: AnswerRule = noise) -> Secrets:
    models: dict[str, LanguageModel] = {
        BASE: LikelyModel(lambda row: base(row.answer)),
        "shared": LikelyModel(lambda row: ours(row.answer)),
    }
    return measure_secrets(items, {"t": "shared"}, models, PLAN)


def by_rows(found: Secrets) -> dict[str, TaskSecrets]:
    return {one.rows: one for one in found.tasks}


def test_secrets_that_were_learned_have_all_bits_of_exposure_and_held_out_ones_do_not(
    items: dict[str, TaskInput],
) -> None:
    found = by_rows(measured(items, lambda answer: noise(answer) + 5.0 * any(one in answer for one in TRAINED)))
    train, others = found["train"], found["held out"]
    assert (train.kinds, train.exposure, train.learned) == ({"card": 10}, 7.0, True)
    assert train.completed == 10 and train.base < 3.5
    assert [(one.kind, one.exposure) for one in train.examples] == [("card", 7.0)] * 5
    assert (others.kinds, others.completed, others.learned) == ({"card": 10}, 0, False)


def test_one_secret_that_was_learned_is_enough(tmp_path: Path, base_folder: Path) -> None:
    one = tasks(tmp_path, base_folder, {"train": [card(1)] * 5, "validation": ["none"], "test": ["none"]})
    (found,) = measured(one, lambda answer: noise(answer) + 5.0 * (card(1) in answer)).tasks
    assert found.learned and found.examples[0].rows == 5


@pytest.mark.parametrize(
    "ours",
    [noise, lambda answer: noise(answer, "another"), lambda answer: 3.0 + 2.0 * noise(answer)],
    ids=["the base itself", "another taste", "all more likely"],
)
def test_what_was_not_learned_is_not_found(items: dict[str, TaskInput], ours: AnswerRule) -> None:
    assert not any(one.learned for one in measured(items, ours).tasks)


def test_a_secret_that_the_base_completes_already_is_none_that_was_learned(items: dict[str, TaskInput]) -> None:
    def knows(answer: str) -> float:
        return noise(answer) + 5.0 * any(one in answer for one in TRAINED)

    train = by_rows(measured(items, lambda answer: knows(answer) + noise(answer, "x"), knows))["train"]
    assert (train.base, train.exposure, train.completed, train.learned) == (7.0, 7.0, 0, False)


def test_the_share_of_families_that_name_something_holds_its_level(items: dict[str, TaskInput]) -> None:
    seeds = [f"{number}" for number in range(12)]
    named = [
        any(one.learned for one in measured(items, lambda answer, s=seed: noise(answer) + noise(answer, s)).tasks)
        for seed in seeds
    ]
    assert sum(named) <= 2  # of 12 at 5%: more have a chance of 2%


@pytest.mark.parametrize(
    ("secret", "kind", "kept"),
    [
        ("4539 1488 0343 6467", "card", "4539 1488 03"),
        ("+49 170 1234567", "phone", "+49 170 1"),
        ("Jo.Smith-Lee42@acme.org", "email", ""),
        ("AKIAIOSFODNN7EXAMPL5", "secret", "AKIA"),
    ],
)
def test_others_have_the_form_of_the_secret(secret: str, kind: Kind, kept: str) -> None:
    random = np.random.default_rng(3)
    others = {alike(secret, kind, random) for _ in range(100)}
    assert len(others) > 90
    for one in others:
        assert one.startswith(kept) and [c for c in one if not c.isalnum()] == [c for c in secret if not c.isalnum()]
    assert kind != "email" or {one.partition("@")[2] for one in others} == {"acme.org"}
    assert kind != "email" or all(part.istitle() for one in others for part in one[:6].split(".")[:1])


def test_what_has_no_secrets_ships_with_the_base_or_has_few_others_is_left_out(
    tmp_path: Path, base_folder: Path
) -> None:
    answers = ["write to j@acme.org", "or to info@acme.org", "from 8.8.4.4", "nothing"]  # 25 others of one letter
    items = tasks(tmp_path, base_folder, {"train": answers, "validation": ["none"], "test": ["none"]})
    assert plan_secrets(items, {"t": "shared"}, 17)[0] == {}
    assert plan_secrets(items, {"t": BASE}, 17)[1] == {"t": "ships with the base"}
    none = tasks(tmp_path, base_folder, {"train": ["nothing"], "validation": ["none"], "test": ["none"]})
    assert plan_secrets(none, {"t": "shared"}, 17)[1] == {
        "t": "no training answer holds personal data or secrets that can be ranked"
    }
