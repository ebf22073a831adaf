"""The law: an answer and its loss are a function of the model and the row, whatever else is evaluated beside it."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from multitune.config.load import load_config
from multitune.core.bases import BaseRef
from multitune.core.records import PackRow, Segments
from multitune.data.tokenizer import ChatFormat
from multitune.inference.generate import GenerateOptions, generate
from multitune.inference.labels import answer_losses, score_labels
from multitune.inference.likelihood import row_losses
from multitune.model.backbone import load_backbone, wrap_model
from multitune.model.bank import AdapterBank
from multitune.training.prepare import prepare_run
from tests.conftest import word_tokenizer

VOCAB = 93
EOS = 1
TIED = 99  # tokens from here on are each tied with another behind one row
ROWS, STEPS = 10, 6
DTYPES = [torch.float32, torch.bfloat16]
DEMO = Path(__file__).parents[2] / "examples" / "finance" / "demo.yaml"

sharing = pytest.mark.parametrize("shares", [True, False], ids=["shared prefixes", "row by row"])
compute = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "bfloat16"])
orders = st.permutations(range(ROWS)).flatmap(lambda order: st.integers(1, ROWS).map(lambda n: order[:n]))


def deep_model() -> LlamaForCausalLM:
    """Deep and wide enough for other last digits of a sum to grow into another bfloat16 number."""
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=TIED + ROWS,
        hidden_size=128,
        intermediate_size=192,
        num_hidden_layers=10,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.1,
        pad_token_id=0,
        eos_token_id=EOS,
    )
    return LlamaForCausalLM(config)


@cache
def bank_of(dtype: torch.dtype, shares: bool) -> AdapterBank:
    """A bank under whose first adapter row i has a near tie: token TIED + i is as likely behind it as the best."""
    bank = AdapterBank(wrap_model(deep_model().to(dtype), BaseRef("deep", "deep")))
    for seed, name in enumerate(("first", "second")):
        adapter = bank.create(name, 4, 8.0, "all", seed)
        adapter.weights.copy_(torch.randn(adapter.weights.shape, generator=torch.Generator().manual_seed(seed)) * 0.03)
        adapter.publish()
    head = bank.backbone.model.lm_head.weight.data
    head[TIED:] = 0
    for i, row in enumerate(rows_of()):
        state, logits = behind(bank, row.prompt)
        head[TIED + i] = (state * logits[:TIED].max() / state.square().sum()).to(dtype)
    if not shares:
        bank.backbone.model.set_attn_implementation("eager")
        bank.backbone.shares_prefixes = False
    return bank


@torch.no_grad()
def behind(bank: AdapterBank, prompt: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head reads behind a prompt under the first adapter, and what it makes of it, in float32."""
    with bank.use("first") as model:
        state = model.model(torch.from_numpy(prompt)[None], use_cache=False).last_hidden_state[0, -1]
        return state.float(), model.lm_head(state).float()


@cache
def rows_of() -> list[Segments]:
    """Prompts of 4 to 170 tokens, which begin alike in threes; one is the beginning of another."""
    rng = np.random.default_rng(11)
    stems = rng.integers(2, VOCAB, (3, 140))
    prompts = [np.append(stems[i % 3][: rng.integers(3, 140)], rng.integers(2, VOCAB, 1 + 2 * i)) for i in range(ROWS)]
    prompts[-1] = np.append(prompts[0], 7)
    answers = [np.append(rng.integers(2, VOCAB, rng.integers(0, 4)), EOS) for _ in prompts]
    return [Segments(p.astype(np.int32), a.astype(np.int32)) for p, a in zip(prompts, answers, strict=True)]


@cache
def labels_of(dtype: torch.dtype, rows: int) -> list[np.ndarray]:
    """The two likeliest tokens of each of the first rows, which are all but tied."""
    bank = bank_of(dtype, True)
    best = [int(behind(bank, row.prompt)[1][:TIED].argmax()) for row in rows_of()[:rows]]
    return [np.array([token], dtype=np.int32) for token in (*dict.fromkeys(best), *range(TIED, TIED + rows))]


def labelled(bank: AdapterBank, order: Sequence[int], tied: int, pack_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """The label of each row, and the scores of all labels that count for it."""
    prompts = [rows_of()[i].prompt for i in order]
    found = score_labels(bank, "first", prompts, labels_of(bank.backbone.dtype, tied), pack_tokens)
    return found.best, np.where(found.exact, found.log_likelihood, -np.inf)


def written(
    bank: AdapterBank, rows: Sequence[Segments], chat: ChatFormat, options: GenerateOptions
) -> tuple[list[str], list[float]]:
    generated = generate(bank, "first", rows, chat, options)
    texts, losses = generated.texts, generated.losses
    return texts, losses.tolist()


@cache
def labelled_together(dtype: torch.dtype, shares: bool, tied: int) -> tuple[np.ndarray, np.ndarray]:
    return labelled(bank_of(dtype, shares), range(ROWS), tied, 2048)


@cache
def written_together(dtype: torch.dtype, shares: bool) -> tuple[list[str], list[float]]:
    options = GenerateOptions(STEPS, ROWS, 2048)
    return written(bank_of(dtype, shares), rows_of(), ChatFormat(word_tokenizer()), options)


@compute
@sharing
@pytest.mark.parametrize("tied", [4, 6])
@settings(max_examples=4)
@given(order=orders, pack_tokens=st.integers(60, 600))
def test_a_label_and_its_score_do_not_depend_on_other_rows(
    dtype: torch.dtype, shares: bool, tied: int, order: Sequence[int], pack_tokens: int
) -> None:
    best, scores = labelled_together(dtype, shares, tied)
    found, found_scores = labelled(bank_of(dtype, shares), order, tied, pack_tokens)
    np.testing.assert_array_equal(found, best[list(order)])
    np.testing.assert_array_equal(found_scores, scores[list(order)])


@compute
@sharing
@settings(max_examples=4)
@given(order=orders, batch_size=st.integers(1, ROWS), pack_tokens=st.integers(60, 600))
def test_a_text_and_its_loss_do_not_depend_on_other_rows(
    dtype: torch.dtype, shares: bool, order: Sequence[int], batch_size: int, pack_tokens: int
) -> None:
    texts, losses = written_together(dtype, shares)
    chat, options = ChatFormat(word_tokenizer()), GenerateOptions(STEPS, batch_size, pack_tokens)
    found = written(bank_of(dtype, shares), [rows_of()[i] for i in order], chat, options)
    assert found == ([texts[i] for i in order], [losses[i] for i in order])


@compute
@sharing
@torch.no_grad()
def test_the_rows_of_other_adapters_in_a_pack_change_no_loss(dtype: torch.dtype, shares: bool) -> None:
    bank, rows = bank_of(dtype, shares), rows_of()
    adapters = [bank.number(("first", "second", "base")[i % 3]) for i in range(ROWS)]
    mixed = [PackRow(row, adapter, task=0) for row, adapter in zip(rows, adapters, strict=True)]
    found = np.empty(ROWS)
    for pack in bank.backbone.pack(mixed, 400):
        with bank.route(pack.slices, len(pack)):
            losses = bank.backbone.losses(pack, batch_invariant=True).double().numpy()
        found[list(pack.rows)] = np.bincount(pack.target_row, losses) / np.bincount(pack.target_row)
    alone = [float(answer_losses(bank, ("first", "second", "base")[i % 3], [rows[i]], 2048)[0]) for i in range(ROWS)]
    np.testing.assert_array_equal(found, alone)


def test_near_ties_make_the_law_bite() -> None:
    """The arithmetic of training, whose sums depend on the pack, gives some of these rows another label."""
    bank, labels = bank_of(torch.float32, True), labels_of(torch.float32, ROWS)
    rows = [Segments(row.prompt, label) for row in rows_of() for label in labels]
    picked: list[np.ndarray] = []
    for pack_tokens in (60, 2048):
        losses = row_losses(bank, "first", rows, pack_tokens, batch_invariant=False)
        picked.append(losses.reshape(ROWS, -1).argmin(1))
    assert (picked[0] != picked[1]).any()


def test_the_demo_s_rows_get_the_same_answers_in_any_batch() -> None:
    run = prepare_run(load_config(DEMO))
    bank = AdapterBank(load_backbone(run.ref, "cpu", "bfloat16"))
    adapter = bank.create("a", 16, 32.0, "all", 17)
    adapter.weights.add_(torch.randn(adapter.weights.shape, generator=torch.Generator().manual_seed(0)) * 1e-3)
    adapter.publish()
    tweets, entities = (run.tasks[name].tokens["test"] for name in ("tweets", "entities"))
    labels = run.chat.encode_answers(run.tasks["tweets"].data.task.labels)
    shuffle = np.random.default_rng(0)
    answers: list[tuple[list[float], list[str]]] = []
    for batch_size, pack_tokens in ((32, 2048), (7, 700), (1, 2048)):
        picked, texts = np.empty((12, len(labels))), [""] * 4
        order = shuffle.permutation(12)
        picked[order] = score_labels(bank, "a", [tweets[i].prompt for i in order], labels, pack_tokens).log_likelihood
        order = shuffle.permutation(4)
        found = generate(
            bank, "a", [entities[i] for i in order], run.chat, GenerateOptions(8, batch_size, pack_tokens)
        )
        for place, text in zip(order, found.texts, strict=True):
            texts[place] = text
        answers.append((picked.ravel().tolist(), texts))
    assert answers[0] == answers[1] == answers[2]
