"""lm-evaluation-harness on a served run: are its scores ours, row by row?

`make bench PART=harness`: two tasks of the team example, trained in minutes, are served. The harness scores the test
rows twice: every label by its likelihood through /v1/completions with the shared adapter, and by a choice through
/v1/chat/completions with `auto`. Ours are the run's own record, and `predict` with the router. RUN=folder takes a run
that is there; LM_EVAL=program takes a harness that is installed elsewhere.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

import multitune
from benchmarks.record import record
from benchmarks.served import served
from multitune.config.load import load_config
from multitune.core.bases import BASE
from multitune.core.records import Example
from multitune.run import Run
from multitune.training.prepare import PreparedRun, prepare_run

COMMAND = "make bench PART=harness"
TEAM = Path(__file__).parent.parent / "examples" / "team" / "team.yaml"
TASKS = ("cards", "analysis")
SUBJECTS = (BASE, "shared")
TOKENIZER = "tokenizer"
SMALL = [
    *("seeds=1", "adapters=shared", "name=harness"),
    *(f"tasks.{task}.limit={{train: 72, validation: 12, test: 30}}" for task in ("cards", "transfers", "analysis")),
]
HARNESS = os.environ.get("LM_EVAL", f"{sys.executable} -m lm_eval").split()


def main() -> None:
    """Train, serve, score both ways, compare row by row."""
    with tempfile.TemporaryDirectory() as folder:
        given = os.environ.get("RUN")
        run = multitune.open_run(given) if given else multitune.train(TEAM, [*SMALL, f"output={folder}"])
        prepared = prepare_run(load_config(run.folder.config))
        with served(run.path) as server:
            write_tasks(Path(folder), prepared)
            prepared.chat.tokenizer.save_pretrained(Path(folder, TOKENIZER))
            named = score(Path(folder), server.url, "local-completions", "shared", "likelihood")
            routed = score(Path(folder), server.url, "local-chat-completions", "auto", "choice")
        figures = {task: compared(run, prepared, task, named, routed) for task in TASKS}
    print(json.dumps(figures, indent=2))
    record("harness", COMMAND, figures)


def rows_of(prepared: PreparedRun, task: str) -> Sequence[Example]:
    """The test rows of a task, in the order of the run's record."""
    return prepared.tasks[task].data.examples["test"]


def write_tasks(folder: Path, prepared: PreparedRun) -> None:
    """Two files per task for the harness, and its rows; labels end as the run's do, with the base's end of turn."""
    end = str(prepared.chat.tokenizer.decode(list(prepared.chat.stop_ids[:1])))
    for name in TASKS:
        labels = list(prepared.tasks[name].data.task.labels)
        rows = [
            {"prompt": one.prompt, "label": one.gold, "place": labels.index(one.gold)}
            for one in rows_of(prepared, name)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        both = {
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(folder / f"{name}.jsonl")}},
            "test_split": "test",
            "doc_to_text": "{{ prompt }}",
            "target_delimiter": "",
        }
        likelihood = {
            "task": f"{name}_likelihood",
            "output_type": "multiple_choice",
            "doc_to_choice": [label + end for label in labels],
            "doc_to_target": "place",
            "metric_list": [{"metric": "acc"}],
        }
        choice = {
            "task": f"{name}_choice",
            "output_type": "generate_until",
            "doc_to_target": "{{ label }}",
            "generation_kwargs": {"until": [], "guided_choice": labels},
            "metric_list": [{"metric": "exact_match"}],
        }
        for one in (likelihood, choice):
            (folder / f"{one['task']}.yaml").write_text(yaml.safe_dump({**both, **one}), "utf-8")


def score(folder: Path, url: str, kind: str, model: str, way: str) -> dict[str, Any]:
    """What the harness found: scores by task, and what it logged of every row, in order."""
    path = "completions" if kind == "local-completions" else "chat/completions"
    where = f"model={model},base_url={url}/v1/{path}"
    if way == "likelihood":
        where += f",tokenizer={folder / TOKENIZER},tokenizer_backend=huggingface"
    tasks = [f"{task}_{way}" for task in TASKS]
    command = [
        *HARNESS,
        "--model",
        kind,
        "--model_args",
        where,
        "--tasks",
        ",".join(tasks),
        "--include_path",
        str(folder),
    ]
    command += ["--apply_chat_template", "--log_samples", "--output_path", str(folder / way)]
    command += ["--batch_size", "8" if way == "likelihood" else "1"]
    subprocess.run(command, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    (results,) = (folder / way).rglob("results_*.json")
    found: dict[str, Any] = {"results": json.loads(results.read_text("utf-8"))["results"]}
    for task in tasks:
        (samples,) = (folder / way).rglob(f"samples_{task}_*.jsonl")
        rows = [json.loads(line) for line in samples.read_text("utf-8").splitlines()]
        found[task] = [row["filtered_resps"] for row in sorted(rows, key=lambda row: row["doc_id"])]
    return found


def compared(run: Run, prepared: PreparedRun, task: str, named: Any, routed: Any) -> dict[str, Any]:
    """Both scores of both ways, the answers that differ, and how far the losses of right answers are apart.

    They are apart by the line break that ends the chat template's opening of an answer: the harness counts white space
    at the end of a context with what follows, the same for all labels of a row.
    """
    rows, labels = rows_of(prepared, task), list(prepared.tasks[task].data.task.labels)
    recorded = {name: run.predictions(task, name).set_index("id").loc[[row.id for row in rows]] for name in SUBJECTS}
    likelihoods = [[float(value) for value, _ in answers] for answers in named[f"{task}_likelihood"]]
    picked = [labels[max(range(len(labels)), key=one.__getitem__)] for one in likelihoods]
    lengths = [len(ids) for ids in prepared.chat.encode_answers([row.answer for row in rows])]
    right = [one[labels.index(row.gold)] for one, row in zip(likelihoods, rows, strict=True)]
    losses = [-value / length for value, length in zip(right, lengths, strict=True)]  # nats per token of the answer
    routes = [run.route(row.prompt).adapter for row in rows]
    by_route = [recorded[name]["value"].iloc[i] for i, name in enumerate(routes)]
    chosen = [one[0] for one in routed[f"{task}_choice"]]
    return {
        "rows": len(rows),
        "labels": len(labels),
        "named": {
            "harness": named["results"][f"{task}_likelihood"]["acc,none"],
            "ours": _accuracy(list(recorded["shared"]["value"]), rows),
            "answers_that_differ": _differing(picked, list(recorded["shared"]["value"])),
            "largest_shift_of_losses": max(
                abs(a - b) for a, b in zip(losses, recorded["shared"]["loss"], strict=True)
            ),
        },
        "auto": {
            "harness": routed["results"][f"{task}_choice"]["exact_match,none"],
            "ours": _accuracy(by_route, rows),
            "answers_that_differ": _differing(chosen, by_route),
            "routed_to_the_base": routes.count(BASE),
        },
    }


def _accuracy(answers: Sequence[str], rows: Sequence[Example]) -> float:
    return sum(answer == row.gold for answer, row in zip(answers, rows, strict=True)) / len(rows)


def _differing(one: Sequence[str], other: Sequence[str]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))
