"""A request's answer is its own: whatever runs beside it, joins or leaves, it is what its adapter answers alone."""

import threading

import numpy as np
import pytest
import torch

from multitune.core.errors import InputError
from multitune.data.tokenizer import ChatFormat
from multitune.model.bank import AdapterBank
from multitune.serving.engine import Engine, EngineOptions
from multitune.serving.requests import OverloadedError
from multitune.serving.sampling import SamplingOptions
from tests.conftest import randomise
from tests.greedy import greedy_loop
from tests.serving.conftest import Asked, answer, asked

VOCAB, EOS = 93, 1
NAMES = ("base", "first", "second", "other_rank", "stacked")


@pytest.fixture
def bank(bank: AdapterBank) -> AdapterBank:
    """With adapters of another rank, on fewer layers, and on top of another."""
    randomise(bank.create("other_rank", 2, 4.0, ["q_proj", "down_proj"], 2), 2)
    randomise(bank.create("stacked", 4, 8.0, "attention", 3), 3)
    bank.stack("stacked", "first")
    return bank


def prompts(seed: int, count: int) -> list[list[int]]:
    """Of 1 to 120 tokens; every other one begins as the first."""
    rng = np.random.default_rng(seed)
    stem = rng.integers(2, VOCAB, 40)
    tails = [rng.integers(2, VOCAB, rng.integers(1, 80)) for _ in range(count)]
    return [(np.append(stem, tail) if i % 2 else tail).tolist() for i, tail in enumerate(tails)]


def bits(one: Asked) -> list[tuple[int, float]]:
    return [(token.token, token.logprob) for token in one.tokens]


def test_every_adapter_of_a_mixed_batch_answers_as_a_plain_greedy_loop(engine: Engine, bank: AdapterBank) -> None:
    rows = [(NAMES[i % len(NAMES)], prompt) for i, prompt in enumerate(prompts(1, 20))]
    expected = [greedy_loop(bank, name, np.array(prompt), 8, EOS) for name, prompt in rows]
    found = answer(engine, *(asked(name, prompt) for name, prompt in rows))
    assert [one.ids for one in found] == expected
    assert {one.finish for one in found} <= {"stop", "length"}
    assert len({tuple(ids) for ids in expected}) > 10


def test_a_request_has_the_same_bits_alone_in_a_batch_and_with_its_prompt_kept(engine: Engine) -> None:
    rows = [(NAMES[i % len(NAMES)], prompt) for i, prompt in enumerate(prompts(2, 23))]
    together = answer(engine, *(asked(name, prompt) for name, prompt in rows))
    kept = engine.stats.cached_tokens
    alone = [answer(engine, asked(name, prompt))[0] for name, prompt in rows]
    assert [bits(one) for one in alone] == [bits(one) for one in together]
    assert engine.stats.cached_tokens - kept > 500


def test_prompts_read_in_parts_give_the_same_bits(bank: AdapterBank, chat: ChatFormat, engine: Engine) -> None:
    rows = [(NAMES[i % len(NAMES)], prompt) for i, prompt in enumerate(prompts(3, 9))]
    whole = answer(engine, *(asked(name, prompt) for name, prompt in rows))
    engine.close()
    small = Engine(bank, chat.tokenizer, chat.stop_ids, EngineOptions(cache_tokens=512, step_tokens=7, max_running=3))
    parts = answer(small, *(asked(name, prompt) for name, prompt in rows))
    small.close()
    assert [bits(one) for one in parts] == [bits(one) for one in whole]


def test_equal_prompts_are_read_once_for_each_adapter_and_never_shared_between_them(engine: Engine) -> None:
    prompt = prompts(4, 1)[0] * 2 + [5] * 40
    names = ["first", "second", "first", "first", "base"]
    found = answer(engine, *(asked(name, prompt) for name in names))
    assert found[0].ids == found[2].ids == found[3].ids
    assert len({tuple(one.ids) for one in found}) == 3
    blocks = (len(prompt) - 1) // 16
    assert engine.stats.cached_tokens == 2 * blocks * 16


def test_requests_join_and_leave_a_running_batch(engine: Engine, bank: AdapterBank) -> None:
    long = asked("first", [5, 9, 11], max_tokens=120)
    engine.submit([long.request])
    while len(long.tokens) < 3:
        long.next()
    short = answer(engine, *(asked(name, prompt, 4) for name, prompt in zip(NAMES, prompts(5, 5), strict=True)))
    assert long.finish is None and all(one.finish for one in short)
    long.wait()
    assert long.ids == greedy_loop(bank, "first", np.array([5, 9, 11]), 120, EOS)


def test_a_cancelled_request_is_gone_within_a_step(engine: Engine) -> None:
    one = asked("first", [5, 9, 11], max_tokens=200)
    engine.submit([one.request])
    one.next()
    steps = engine.run(lambda: (engine.cancel(one.request), engine.stats.steps)[1]).result(60)
    assert one.wait().finish == "cancelled"
    assert engine.run(lambda: engine.stats.steps).result(60) <= steps + 2
    assert not engine.stats.running and engine.stats.cache_usage == 0


def test_sampling_repeats_with_its_seed_and_not_with_another(engine: Engine) -> None:
    def sampled(seed: int, beside: int = 0) -> list[int]:
        options = SamplingOptions(temperature=1.5, top_p=0.9, seed=seed)
        others = [asked("second", [7 + i]) for i in range(beside)]
        return answer(engine, asked("first", [5, 9], 30, sampling=options), *others)[0].ids

    assert sampled(1) == sampled(1, beside=3) != sampled(2)


def test_a_stop_string_ends_an_answer_and_is_not_in_it(engine: Engine) -> None:
    whole = answer(engine, asked("first", [5, 9, 11], 20))[0]
    words = whole.text.split()
    stop = f"{words[3]} {words[4]}"
    cut = answer(engine, asked("first", [5, 9, 11], 20, stop=("never", stop)))[0]
    assert (cut.text, cut.finish) == (whole.text[: whole.text.index(stop)], "stop")


@torch.no_grad()
def test_log_probabilities_of_prompt_and_answer_are_the_models_own(engine: Engine, bank: AdapterBank) -> None:
    prompt = prompts(6, 2)[1]
    options = SamplingOptions(temperature=0, logprobs=3)
    one = answer(engine, asked("second", prompt, 5, sampling=options, prompt_logprobs=2))[0]
    with bank.use("second") as model:
        logits = model(input_ids=torch.tensor([prompt + one.ids])).logits[0].log_softmax(-1)
    expected = logits[:-1].gather(1, torch.tensor(prompt + one.ids)[1:, None])[:, 0]
    found = [token.logprob for token in [*one.prompt, *one.tokens]]
    assert found == pytest.approx(expected.tolist(), abs=1e-4)
    assert [token.token for token in one.prompt] == prompt[1:]
    assert all(token.top[0][0] == token.token and len(token.top) == 3 for token in one.tokens)
    assert answer(engine, asked("second", prompt, 0, prompt_logprobs=0))[0].prompt[0].top == ()


def test_a_full_queue_refuses_and_a_free_one_takes_again(bank: AdapterBank, chat: ChatFormat) -> None:
    options = EngineOptions(max_running=1, max_waiting=2, max_waiting_tokens=50, cache_tokens=512)
    engine, begun, gate = Engine(bank, chat.tokenizer, chat.stop_ids, options), threading.Event(), threading.Event()
    blocked = engine.run(lambda: (begun.set(), gate.wait()))
    assert begun.wait(60)
    two = [asked("first", [5, 6, 7]), asked("second", [5, 6])]
    engine.submit([one.request for one in two])
    with pytest.raises(OverloadedError, match="2 requests wait"):
        engine.submit([asked("first", [5]).request])
    engine.cancel(two[1].request)
    with pytest.raises(OverloadedError, match="3 tokens wait"):
        engine.submit([asked("first", [5] * 60).request])
    gate.set()
    assert blocked.result(60) and two[0].wait().finish and two[1].wait().finish == "cancelled"
    assert answer(engine, asked("first", [5] * 60))[0].finish
    engine.close()


def test_what_cannot_fit_is_refused_with_the_lengths(engine: Engine) -> None:
    with pytest.raises(InputError, match="256 tokens, and the prompt has 250 and the answer up to 8"):
        engine.submit([asked("first", [5] * 250).request])


def test_a_damaged_adapter_fails_its_own_requests_alone(engine: Engine, bank: AdapterBank) -> None:
    bank["second"].compute[:] = float("nan")
    rows = [("second" if i % 2 else "first", prompt) for i, prompt in enumerate(prompts(7, 8))]
    found = answer(engine, *(asked(name, prompt) for name, prompt in rows))
    assert [one.finish == "error" for one in found] == [name == "second" for name, _ in rows]
    assert "not finite" in found[1].error
    for one, (name, prompt) in zip(found, rows, strict=True):
        if name == "first":
            assert one.ids == greedy_loop(bank, "first", np.array(prompt), 8, EOS)
