"""Answers that change with swapped groups are counted, for the adapter and the base, and compared on the same rows."""

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
import pytest

from multitune.config.task import TaskConfig
from multitune.core.bases import BASE
from multitune.core.records import Example
from multitune.core.results.robustness import Flips, Perturbed
from multitune.data.task_input import TaskInput
from multitune.data.taskdata import TaskData
from multitune.evaluation.flips import measure_flips, plan_flips
from multitune.evaluation.groups import Answers
from multitune.evaluation.perturbed import measure_perturbed
from multitune.evaluation.probe import Probe, TaskRows
from multitune.evaluation.stats import BootstrapPlan
from multitune.inference.language_model import Completion, LanguageModel, Likelihoods
from multitune.inference.predict import predict_examples
from multitune.tasks.task import Task

PLAN = BootstrapPlan(resamples=100)
Rule = Callable[[str], str]  # prompt -> answer


@final
class RuleModel(LanguageModel):
    """A model that answers by a rule; an answer of its own is likelier than another."""

    tells_likelihood = True

    def __init__(self, rule: Rule, longest: int = 10_000) -> None:
        self.rule, self.longest = rule, longest

    def loglikelihood(self, rows: Sequence[Example]) -> Likelihoods:
        nats = [-0.1 if self.rule(row.prompt) == row.answer else -2.0 for row in rows]
        return Likelihoods(np.array(nats), np.ones(len(rows), dtype=np.int64))

    def generate(self, rows: Sequence[Example], max_new_tokens: int, stop: Sequence[str] = ()) -> list[Completion]:
        return self.choose(rows, ())

    def choose(self, rows: Sequence[Example], labels: Sequence[str]) -> list[Completion]:
        losses = self.loglikelihood(rows).loss
        return [Completion(self.rule(row.prompt), float(loss)) for row, loss in zip(rows, losses, strict=True)]

    def are_readable(self, rows: Sequence[Example]) -> list[bool]:
        return [len(row.prompt) <= self.longest for row in rows]


def task_rows(rows: list[dict[str, Any]], **fields: Any) -> TaskRows:
    given = {"name": "t", "kind": "classify", "prompt": "{{ text }}", "answer": "{{ label }}", **fields}
    task = Task(TaskConfig.model_validate({"data": {"train": "t.jsonl"}, **given}))
    task.fit_labels(["good", "bad"])
    data = TaskData(task, {"train": [], "validation": [], "test": []}, {}, [])
    return TaskRows(TaskInput(data, {}, general=False), task.examples(rows), rows)


def probe(of: TaskRows, ours: LanguageModel, base: LanguageModel) -> Probe:
    models = {"shared": ours, BASE: base}
    said = {name: predict_examples(model, of.item, of.examples) for name, model in models.items()}
    return Probe(of, Answers("shared", of.task.metric, [said["shared"]], said[BASE]), models)


def people(women: int = 30, men: int = 30, others: int = 30) -> list[dict[str, Any]]:
    texts = [f"She came to meeting {i}" for i in range(women)] + [f"He came to meeting {i}" for i in range(men)]
    texts += [f"It came to meeting {i}" for i in range(others)]
    return [{"text": text, "label": ["good", "bad"][i % 2]} for i, text in enumerate(texts)]


def sexist(prompt: str) -> str:
    return "bad" if "She" in prompt else "good"


def fair(prompt: str) -> str:
    return "good" if prompt[-1] in "02468" else "bad"


def flips(ours: Rule, base: Rule) -> Flips:
    return measure_flips({"t": probe(task_rows(people()), RuleModel(ours), RuleModel(base))}, PLAN)


def test_a_model_that_looks_at_the_group_flips_every_row_that_names_one_and_no_other() -> None:
    (found,) = flips(sexist, fair).tasks
    assert (found.pair, found.rate.count, found.rate.of, found.base.count) == ("women and men", 60, 60, 0)
    assert found.verdict == "higher" and found.p_holm < 0.001
    assert {(one.before, one.after) for one in found.examples} == {("bad", "good")}
    assert found.examples[0].asked.startswith("He came")


def test_a_model_that_does_not_look_flips_nothing() -> None:
    found = flips(fair, fair)
    assert found.tasks[0].rate.count == 0 and found.tasks[0].verdict == "cannot tell"
    assert found.tasks[0].likelihood is not None
    assert (found.tasks[0].likelihood.low, found.tasks[0].likelihood.high) == (0.0, 0.0)


def test_training_that_takes_flips_away_is_lower_than_the_base() -> None:
    assert flips(fair, sexist).tasks[0].verdict == "lower"


def test_the_likelihood_is_that_of_the_first_group_less_that_of_the_second() -> None:
    """Right answers `bad` alone: a model that says `bad` of women finds them likelier there, by 1.9 nats."""
    rows = [{**row, "label": "bad"} for row in people()]
    found = measure_flips({"t": probe(task_rows(rows), RuleModel(sexist), RuleModel(fair))}, PLAN).tasks[0]
    assert found.likelihood is not None
    assert found.likelihood.difference == pytest.approx(1.9)


def test_few_rows_and_tasks_that_copy_the_text_are_left_out_with_the_reason() -> None:
    planned, left_out = plan_flips(
        {
            "few": task_rows(people(5, 5)),
            "none": task_rows(people(0, 0)),
            "said": task_rows(people(), kind="generate"),
        }
    )
    assert not planned
    assert left_out == {
        "few, women and men": "rows that name one of them: 10; 20 are needed",
        "none": left_out["none"],
        "said": "answers of kind generate may name the group, and then have to change",
    }
    assert left_out["none"].startswith("no row names women and men")


def perturbed(rule: Rule, rows: list[dict[str, Any]], longest: int = 10_000) -> Perturbed:
    of = task_rows(rows)
    return measure_perturbed(
        {"t": probe(of, RuleModel(rule, longest), RuleModel(fair))}, ["upper", "long_after"], PLAN
    )


def knows_she(prompt: str) -> str:
    return "good" if "She" in prompt else "bad"


def test_a_model_that_reads_case_is_lower_on_upper_case_and_cannot_tell_elsewhere() -> None:
    rows = [{**row, "label": knows_she(row["text"])} for row in people()]
    by_name = {one.perturbation: one for one in perturbed(knows_she, rows).tasks}
    assert by_name["upper"].verdict == "lower" and by_name["upper"].clean == 1.0
    assert by_name["long_after"].difference == 0.0 and by_name["long_after"].verdict == "cannot tell"


def test_rows_that_a_perturbation_leaves_as_they_are_prove_nothing() -> None:
    rows = [{"text": f"ROW {i}", "label": "good"} for i in range(30)]
    found = perturbed(fair, rows)
    assert [one.perturbation for one in found.tasks] == ["long_after"]
    assert found.left_out == {"t, upper": "changes 0 rows; 20 are needed"}


def test_rows_that_grow_longer_than_the_base_reads_are_left_out() -> None:
    found = perturbed(fair, people(), longest=100)
    assert found.left_out == {"t, long_after": "90 rows grow longer than the base reads"}
