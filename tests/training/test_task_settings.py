"""Settings of one task: prompt variants, shots, passes and the learning rate of its own adapter."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multitune.config.load import parse_config
from multitune.config.ranges import range_warnings
from multitune.core.errors import ConfigError, DataError, MixtureError, TaskError
from multitune.core.records import Example
from multitune.data.summary import summarise
from multitune.training.prepare import PreparedRun, prepare_run

Prepare = Callable[..., PreparedRun]
ROWS = [{"text": f"w{i} w{(7 * i) % 40}", "label": ["red", "blue"][i % 2]} for i in range(60)]
SAID = {"name": "said", "kind": "classify", "prompt": "say {{ text }}", "answer": "{{ label }}", "data": "rows.jsonl"}
OTHER = {**SAID, "name": "other", "prompt": "copy {{ text }}", "data": "other.jsonl"}
VARIANTS = ["copy {{ text }}", "general {{ text }}"]


@pytest.fixture
def prepare(base_folder: Path, tmp_path: Path) -> Prepare:
    """One task of 60 rows with the given fields; under `others` more sets, under `run` fields of the run."""
    others = [{**row, "text": f"w{77 - i} w{i}"} for i, row in enumerate(ROWS[:40])]
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in others))

    def prepared(rows: list[dict[str, Any]] = ROWS, run: dict[str, Any] | None = None, **fields: Any) -> PreparedRun:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        raw = {"base": str(base_folder), "tasks": [{**SAID, **fields}], "train": {"batch_size": 4}, **(run or {})}
        return prepare_run(parse_config(raw, tmp_path))

    return prepared


def read(run: PreparedRun, split: Any, task: str = "said") -> dict[str, str]:
    """What the model reads of each row of a split, by the row's own prompt."""
    item = run.tasks[task]
    rows = item.data.examples[split]
    pairs = zip(item.tokens[split], item.tokens[split].kept.tolist(), strict=True)
    return {rows[at].prompt: str(run.chat.tokenizer.decode(tokens.prompt)) for tokens, at in pairs}


def asked(run: PreparedRun) -> dict[str, str]:
    """The first word that each training row is asked with."""
    return {prompt: text.split()[0] for prompt, text in read(run, "train").items()}


def test_training_rows_are_asked_in_every_variant_and_all_others_by_the_prompt(prepare: Prepare) -> None:
    run = prepare(prompt_variants=VARIANTS)
    assert set(asked(run).values()) == {"say", "copy", "general"}
    assert all(text.startswith("say ") for split in ("validation", "test") for text in read(run, split).values())
    (question,) = run.tasks["said"].data.task.questions([{"text": "w1"}])
    assert question.prompt == "say w1"


def test_a_rows_variant_follows_from_its_text_and_the_seed_alone(prepare: Prepare) -> None:
    first, reversed_ = asked(prepare(prompt_variants=VARIANTS)), asked(prepare(ROWS[::-1], prompt_variants=VARIANTS))
    assert first == reversed_
    assert first != asked(prepare(prompt_variants=VARIANTS, run={"seed": 18}))
    half = asked(prepare(ROWS[:30], prompt_variants=VARIANTS))
    assert {prompt: first[prompt] for prompt in half.keys() & first.keys()}.items() <= half.items()


def test_variants_move_no_row_to_another_split(prepare: Prepare) -> None:
    plain, varied = prepare(), prepare(prompt_variants=VARIANTS)
    for split in ("train", "validation", "test"):
        assert read(plain, split).keys() == read(varied, split).keys()
    assert read(plain, "test") == read(varied, "test")


def test_check_counts_the_rows_of_each_prompt(prepare: Prepare) -> None:
    run = prepare(prompt_variants=VARIANTS)
    found = summarise(run.tasks["said"], run.chat).prompts
    assert [one.prompt for one in found] == [SAID["prompt"], *VARIANTS]
    words = list(asked(run).values())
    assert [one.rows for one in found] == [words.count(word) for word in ("say", "copy", "general")]


def test_a_variant_that_shows_another_column_is_refused(prepare: Prepare) -> None:
    with pytest.raises(TaskError, match=r"prompt_variants\[1\]: it shows label, text, and the prompt text"):
        prepare(prompt_variants=["copy {{ text }}", "{{ label }} {{ text }}"])


def test_shots_stand_in_front_of_every_row_and_are_none_of_them(prepare: Prepare) -> None:
    run = prepare(shots=3)
    shots = run.tasks["said"].data.task.shots
    front = "".join(f"{shot.prompt}\n{shot.answer}\n" for shot in shots).replace("\n", " \n ").strip()
    rows = {split: read(run, split) for split in ("train", "validation", "test")}
    assert len(shots) == 3 and sum(map(len, rows.values())) == len(ROWS) - 3
    for texts in rows.values():
        assert all(text.startswith(front) for text in texts.values())
        assert not {shot.prompt for shot in shots} & texts.keys()
    assert rows["test"].keys() == read(prepare(), "test").keys()  # drawn from training rows


def test_shots_show_every_label_before_one_comes_again(prepare: Prepare) -> None:
    rows = [{"text": f"w{i}", "label": "red" if i % 20 else "blue"} for i in range(60)]
    shots = prepare(rows, shots=2, split={"validation": 0.1, "test": 0}).tasks["said"].data.task.shots
    assert {shot.answer for shot in shots} == {"red", "blue"}


def test_the_same_shots_are_drawn_in_any_order_and_stand_in_the_record(prepare: Prepare) -> None:
    run, reversed_ = prepare(shots=2), prepare(ROWS[::-1], shots=2)
    assert run.tasks["said"].data.task.shots == reversed_.tasks["said"].data.task.shots
    assert run.data_record().sets["said"].shots == run.tasks["said"].data.task.shots
    assert prepare(shots=2, run={"seed": 3}).tasks["said"].data.task.shots != run.tasks["said"].data.task.shots


def test_no_row_that_another_set_holds_out_becomes_a_shot(prepare: Prepare) -> None:
    held = {
        **SAID,
        "name": "held",
        "data": {"train": "other.jsonl", "test": "rows.jsonl"},
        "split": {"validation": 0.2},
    }
    with pytest.raises(DataError, match="none is left to train on"):
        prepare(shots=2, run={"tasks": [{**SAID, "shots": 2}, held]})


def test_shots_that_are_given_are_shown_as_they_stand_and_trained_on_no_more(prepare: Prepare) -> None:
    plain = prepare(run={"seed": 5})
    trained = plain.tasks["said"].data.examples["train"][0]
    text = trained.prompt.removeprefix("say ")
    run = prepare(shots=[{"text": text, "label": trained.answer}, {"text": "w9 w9", "label": "red"}], run={"seed": 5})
    assert [shot.prompt for shot in run.tasks["said"].data.task.shots] == [f"say {text}", "say w9 w9"]
    assert read(plain, "train").keys() - read(run, "train").keys() == {f"say {text}"}


def test_a_held_out_row_is_refused_as_a_shot(prepare: Prepare) -> None:
    held = prepare().tasks["said"].data.examples["test"][0]
    shot = {"text": held.prompt.removeprefix("say "), "label": held.answer}
    with pytest.raises(DataError, match="is a row of test, which would be asked behind its own answer"):
        prepare(shots=[shot])


@pytest.mark.parametrize(
    ("shots", "message"),
    [
        ([{"text": "w1"}], "no column 'label'"),
        ([{"text": "w1", "label": "green"}], "has the label 'green'"),
        (60, "shots is 60, and it has"),
    ],
)
def test_shots_that_do_not_fit_are_refused(prepare: Prepare, shots: Any, message: str) -> None:
    with pytest.raises((TaskError, DataError), match=message):
        prepare(shots=shots)


def test_a_retention_set_is_asked_behind_shots_of_its_own_rows(prepare: Prepare) -> None:
    run = prepare(run={"retention": [{**OTHER, "shots": 2}]})
    rows = run.retention["other"]
    assert len(rows.tokens["test"]) == 38
    assert len(rows.data.task.shots) == 2
    assert all("copy" in str(run.chat.tokenizer.decode(row.prompt)) for row in rows.tokens["test"])


def test_retention_rows_that_are_trained_on_are_counted_behind_shots_too(prepare: Prepare) -> None:
    run = prepare(run={"retention": [{**SAID, "name": "kept", "shots": 2}]})
    assert any("rows have a prompt that is trained on as well" in note for note in run.notes)


def test_variants_and_shots_go_together(prepare: Prepare) -> None:
    run = prepare(shots=1, prompt_variants=VARIANTS)
    (shot,) = run.tasks["said"].data.task.shots
    texts = read(run, "train").values()
    assert all(text.startswith(shot.prompt) for text in texts)
    assert {text.split("\n")[2].split()[0] for text in texts} == {"say", "copy", "general"}


def test_shots_are_learned_by_no_loss(prepare: Prepare) -> None:
    plain, shown = prepare(), prepare(shots=2)
    answers = {len(row.answer) for row in shown.tasks["said"].tokens["train"]}
    assert answers == {len(row.answer) for row in plain.tasks["said"].tokens["train"]}


def both(passes: float | None = None, **run: Any) -> dict[str, Any]:
    return {"tasks": [{**SAID, "passes": passes}, OTHER], "adapters": "shared", **run}


def test_passes_are_those_of_the_task_and_the_others_keep_theirs(prepare: Prepare) -> None:
    (plan,) = prepare(run=both(passes=2.0, train={"epochs": 1.0, "batch_size": 4})).plans
    repeats = plan.stream.expected_repeats()
    assert repeats["said"] == pytest.approx(2.0, rel=0.01)
    assert repeats["other"] == pytest.approx(1.0, rel=0.1)  # the rest of the last step


def test_a_single_task_adapter_makes_the_passes_of_its_task(prepare: Prepare) -> None:
    run = prepare(passes=2.0, run={"train": {"epochs": 1.0, "batch_size": 4}})
    assert run.plans[0].spec.steps == -(-2 * len(run.tasks["said"].tokens["train"]) // 4)


def test_passes_that_leave_nothing_for_the_others_are_refused(prepare: Prepare) -> None:
    with pytest.raises(MixtureError, match=r"nothing is left for its other tasks\. Lower `passes`"):
        prepare(run=both(passes=3.0, train={"max_steps": 10, "batch_size": 4}))


def test_a_learning_rate_factor_is_of_the_adapters_that_learn_the_task_alone(prepare: Prepare) -> None:
    tasks = [{**SAID, "learning_rate_factor": 0.5}, OTHER]
    run = prepare(run={"tasks": tasks, "train": {"learning_rate": 2e-4, "batch_size": 4}})
    rates = {plan.spec.name: plan.spec.learning_rate for plan in run.plans}
    assert rates == {
        "shared": 2e-4,
        "said": 1e-4,
        "said.residual": 1e-4,
        "other": 2e-4,
        "other.residual": 2e-4,
    }


def test_a_factor_without_an_adapter_of_the_task_alone_is_refused(prepare: Prepare) -> None:
    with pytest.raises(ConfigError, match=r"tasks\[0\].learning_rate_factor is 2, but no adapter learns 'said' alone"):
        prepare(run={"tasks": [{**SAID, "learning_rate_factor": 2}, OTHER], "adapters": "shared"})


def test_a_rate_that_a_factor_moves_out_of_the_usual_range_is_told(prepare: Prepare) -> None:
    config = prepare(learning_rate_factor=100).config
    assert any("times tasks[0].learning_rate_factor is 0.02" in line for line in range_warnings(config))


def test_check_tells_of_training_answers_that_hold_a_stop_string(prepare: Prepare) -> None:
    rows = [{"text": f"w{i}", "label": f"w{i} , w1" if i % 2 else "red"} for i in range(40)]
    run = prepare(rows, kind="generate", stop=[" ,"])
    warnings = summarise(run.tasks["said"], run.chat).warnings
    assert any("training answers hold a stop string" in line for line in warnings)


def test_a_stop_string_changes_no_training_row(prepare: Prepare) -> None:
    plain, stopped = prepare(kind="generate"), prepare(kind="generate", stop=["red"])
    assert plain.tasks["said"].tokens["train"].digest == stopped.tasks["said"].tokens["train"].digest


def test_an_example_of_a_task_without_these_settings_is_what_it_was(prepare: Prepare) -> None:
    example = prepare().tasks["said"].data.examples["train"][0]
    assert isinstance(example, Example) and (example.chat, example.variant) == ("", "")
