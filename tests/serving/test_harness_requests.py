"""What lm-evaluation-harness asks of a server is answered with the run's own scores.

Its requests and its reading of answers (local-completions, local-chat-completions) are written out as of 0.4.13;
benchmarks/harness.py runs the harness itself.
"""

from pathlib import Path
from typing import Any

import httpx
import pytest

from multitune.core.run_folder import RunFolder
from multitune.deployment.recorded_rows import recorded_rows
from multitune.run import Run

LABELS = ["red", "blue"]
END = "<end>"  # of the tiny base: answers that a run learned end in it


@pytest.fixture(scope="module")
def task(finished: Path) -> Any:
    """The rows of a task that the run recorded, with what the shared adapter answered."""
    return next(one for one in recorded_rows(RunFolder(finished), "shared", 32) if one.item.name == "colours")


def tokens(server: str, text: str) -> list[int]:
    asked = httpx.post(f"{server}/tokenize", json={"prompt": text, "add_special_tokens": False})
    return asked.json()["tokens"]


def likelihoods(server: str, model: str, pairs: list[tuple[str, str]], batch: int) -> list[tuple[float, bool]]:
    """Of each (context, continuation) its log-likelihood, and whether greedy decoding would write it."""
    found: list[tuple[float, bool]] = []
    for start in range(0, len(pairs), batch):
        some = pairs[start : start + batch]
        lengths = [len(tokens(server, context)) for context, _ in some]
        prompts = [tokens(server, context + text) for context, text in some]
        body = {"model": model, "prompt": prompts, "temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": True}
        body["seed"] = 1234
        answer = httpx.post(f"{server}/v1/completions", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        choices = sorted(answer.json()["choices"], key=lambda choice: choice["index"])
        for choice, length in zip(choices, lengths, strict=True):
            values = choice["logprobs"]["token_logprobs"][length:-1]
            top = choice["logprobs"]["top_logprobs"][length:-1]
            found.append((sum(values), all(v == max(t.values()) for v, t in zip(values, top, strict=True))))
    return found


@pytest.mark.parametrize("batch", [1, 5])
def test_labels_scored_by_likelihood_are_those_of_the_record(server: str, task: Any, batch: int) -> None:
    pairs = [(row.prompt + "\n", label + END) for row in task.examples for label in LABELS]
    scores = [value for value, _ in likelihoods(server, "shared", pairs, batch)]
    assert len(task.examples) > 3
    for at, ours in enumerate(task.ours):
        both = scores[at * len(LABELS) : (at + 1) * len(LABELS)]
        assert LABELS[both.index(max(both))] == ours.value
        length = len(tokens(server, ours.gold + END))
        assert -both[LABELS.index(ours.gold)] / length == pytest.approx(ours.loss, abs=1e-4)


def test_what_greedy_decoding_writes_is_greedy_and_another_text_is_not(server: str) -> None:
    context = "say w1 w7\n"
    body = {"model": "shared", "prompt": [tokens(server, context)], "max_tokens": 3, "temperature": 0, "stop": []}
    written = httpx.post(f"{server}/v1/completions", json=body, timeout=60).json()["choices"][0]["text"]
    other = "w77 w77" if written.split()[0] != "w77" else "w76 w76"
    found = likelihoods(server, "shared", [(context, written), (context, other)], 2)
    assert [greedy for _, greedy in found] == [True, False] and found[0][0] > found[1][0]


def test_a_choice_by_auto_is_what_the_routed_adapter_answers(server: str, finished: Path, task: Any) -> None:
    run = Run(finished)
    for row in task.examples[:4]:
        body = {"model": "auto", "messages": [{"role": "user", "content": row.prompt}], "max_tokens": 256}
        body |= {"temperature": 0, "stop": ["\n\n"], "seed": 1234, "guided_choice": LABELS}
        answer = httpx.post(f"{server}/v1/chat/completions", json=body, timeout=60).json()
        routed = run.route(row.prompt).adapter
        recorded = run.predictions("colours", routed).set_index("id")["value"]
        assert answer["multitune"]["adapter"] == routed
        assert answer["choices"][0]["message"]["content"] == recorded[row.id]
