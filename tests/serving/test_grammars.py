"""A mask lets through the tokens that may come next and no others, and changes nobody else's answer."""

import asyncio
import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import regex
import torch

from multitune.core.bases import BaseRef
from multitune.data.tokenizer import ChatFormat
from multitune.model.backbone import wrap_model
from multitune.model.bank import AdapterBank
from multitune.serving.engine import Engine
from multitune.serving.grammar_check import GrammarCheck
from multitune.serving.grammars import Constraint, ConstraintKind, Grammar, GrammarError, Grammars
from multitune.serving.sampling import SamplingOptions
from tests.conftest import byte_tokenizer, randomise, tiny_model, word_tokenizer
from tests.serving.conftest import EOS, Asked, answer, asked

PATTERNS = [
    r"[0-9]{3}-[a-f]{2,5}",
    r"(red|blue|redder)( and (red|blue))*!",
    r"\p{Lu}\p{Ll}{1,8}",
    r"[^a-zA-Z\n]{5,12}x",
]
MOST = 24  # tokens of an answer


@pytest.fixture(scope="module")
def byte_chat() -> ChatFormat:
    return ChatFormat(byte_tokenizer())


@pytest.fixture
def bank(byte_chat: ChatFormat) -> AdapterBank:
    bank = AdapterBank(wrap_model(tiny_model(vocabulary=len(byte_chat.tokenizer)), BaseRef("tiny", "tiny")))
    for seed, name in enumerate(("first", "second")):
        randomise(bank.create(name, 4, 8.0, "all", seed), seed)
    return bank


@pytest.fixture
def chat(byte_chat: ChatFormat) -> ChatFormat:
    return byte_chat


@pytest.fixture(scope="module")
def grammars(byte_chat: ChatFormat) -> Generator[Grammars]:
    grammars = Grammars(byte_chat.tokenizer, byte_chat.stop_ids)
    yield grammars
    grammars.close()


def of(grammars: Grammars, text: str, kind: ConstraintKind = "regex") -> Grammar:
    asked = grammars.grammar(Constraint(kind, text, "guided"))
    with ThreadPoolExecutor(1) as apart:  # a browser of other tests may have a loop under way in this thread
        return apart.submit(asyncio.run, asked).result()


def prompt(chat: ChatFormat, text: str) -> list[int]:
    return chat.encode_prompts([text])[0].tolist()


@torch.no_grad()
def matched(bank: AdapterBank, adapter: str, chat: ChatFormat, text: str, pattern: str) -> list[int]:
    """The likeliest tokens of which each leaves a beginning of what matches, found by trying every one."""
    ids, found = prompt(chat, text), list[int]()
    spellings = [chat.tokenizer.decode([token]) for token in range(len(chat.tokenizer))]
    with bank.use(adapter) as model:
        for _ in range(MOST):
            logits = model(torch.tensor([ids + found]), use_cache=False).logits[0, -1]
            so_far = chat.tokenizer.decode(found)
            for token in logits.argsort(descending=True).tolist():
                whole = token == EOS and regex.fullmatch(pattern, so_far)
                if whole or (token > EOS and regex.fullmatch(pattern, so_far + spellings[token], partial=True)):
                    break
            if token == EOS:
                break
            found.append(token)
            if not any(
                regex.fullmatch(pattern, so_far + spellings[token] + chr(c), partial=True) for c in range(0x250)
            ):
                break
    return found


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_greedy_answer_is_the_likeliest_tokens_that_match(
    engine: Engine, bank: AdapterBank, chat: ChatFormat, grammars: Grammars, pattern: str
) -> None:
    ascii_only = pattern.replace(r"\p{Lu}", "[A-Z]").replace(r"\p{Ll}", "[a-z]").replace("[^a-zA-Z\\n]", "[ -@]")
    for adapter in ("base", "first", "second"):
        request = asked(adapter, prompt(chat, "say w1 w7"), MOST, grammar=of(grammars, ascii_only))
        found = answer(engine, request)[0]
        assert found.ids == matched(bank, adapter, chat, "say w1 w7", ascii_only)
        assert found.finish == "length" or regex.fullmatch(ascii_only, found.text)


def bits(one: Asked) -> list[tuple[int, float]]:
    return [(token.token, token.logprob) for token in one.tokens]


def test_masks_of_some_requests_leave_the_bits_of_the_others(
    engine: Engine, chat: ChatFormat, grammars: Grammars
) -> None:
    how = SamplingOptions(temperature=1.2, top_p=0.9, seed=5, logprobs=2)
    compiled = [None, *(of(grammars, pattern) for pattern in PATTERNS)]

    def request(number: int) -> Asked:
        names, texts = ("base", "first", "second"), ("say w1 w7", "copy w3", "say w1 w9")
        options = how if number % 2 else SamplingOptions(temperature=0, logprobs=2)
        tokens = prompt(chat, texts[number % len(texts)])
        return asked(names[number % 3], tokens, MOST, grammar=compiled[number % 5], sampling=options)

    together = answer(engine, *map(request, range(20)))
    alone = [answer(engine, request(number))[0] for number in range(20)]
    assert [bits(one) for one in together] == [bits(one) for one in alone]
    assert len({str(bits(one)) for one in together}) > 10 and all(one.error == "" for one in together)


def test_log_probabilities_are_the_models_own_before_the_mask(
    engine: Engine, bank: AdapterBank, chat: ChatFormat, grammars: Grammars
) -> None:
    options = SamplingOptions(temperature=0, logprobs=1)
    tokens = prompt(chat, "say w1")
    one = answer(engine, asked("first", tokens, MOST, grammar=of(grammars, PATTERNS[0]), sampling=options))[0]
    with bank.use("first") as model, torch.no_grad():
        logits = model(torch.tensor([tokens + one.ids])).logits[0].log_softmax(-1)
    expected = logits[len(tokens) - 1 : -1].gather(1, torch.tensor(one.ids)[:, None])[:, 0]
    assert [token.logprob for token in one.tokens] == pytest.approx(expected.tolist(), abs=1e-4)
    assert any(token.top[0][0] != token.token for token in one.tokens)


def test_a_stop_string_ends_an_answer_that_a_mask_would_go_on_with(
    engine: Engine, chat: ChatFormat, grammars: Grammars
) -> None:
    found = answer(engine, asked("base", prompt(chat, "say"), MOST, grammar=of(grammars, "aaa-bbb"), stop=("-b",)))[0]
    assert (found.text, found.finish) == ("aaa", "stop")


def test_an_answer_that_is_complete_ends_without_another_token(
    engine: Engine, chat: ChatFormat, grammars: Grammars
) -> None:
    found = answer(engine, asked("base", prompt(chat, "say"), 3, grammar=of(grammars, "abc")))[0]
    assert (found.text, found.finish, len(found.tokens)) == ("abc", "stop", 3)


def test_an_answer_that_may_be_empty_can_be(engine: Engine, chat: ChatFormat, grammars: Grammars) -> None:
    found = answer(engine, asked("base", prompt(chat, "say"), 3, grammar=of(grammars, "")))[0]
    assert (found.text, found.finish) == ("", "stop")


WRONG: list[tuple[ConstraintKind, str, str]] = [
    ("regex", "(", "is no regular expression.*unclosed group"),
    ("regex", "(?=a)b", "look-around"),
    ("json", "{", "is no JSON schema that can be served: EOF"),
    ("json", '{"type": "nothing"}', "Invalid type: nothing"),
    ("json", '{"type": "array", "uniqueItems": true}', "Unimplemented keys.*uniqueItems"),
    ("json", '{"$ref": "http://localhost/schema"}', "does not fetch"),
    ("json", '{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}', "is no JSON schema"),
    ("json", '{"enum": []}', "Unsatisfiable"),
    ("json", '{"items":' * 20_000 + "{}" + "}" * 20_000, "recursion"),
    ("grammar", "nonsense", "grammar"),
]


@pytest.mark.parametrize(("kind", "text", "why"), WRONG)
def test_what_is_wrong_is_refused_with_the_reason_and_its_field(
    grammars: Grammars, kind: ConstraintKind, text: str, why: str
) -> None:
    with pytest.raises(GrammarError, match=f"^guided: .*{why}") as caught:
        of(grammars, text, kind)
    assert caught.value.field == "guided" and "\n" not in str(caught.value) and len(str(caught.value)) < 500


HOSTILE = [
    '{"type": "integer", "multipleOf": 999983}',
    json.dumps({"allOf": [{"type": "string", "pattern": f".*{i}.*"} for i in range(200)]}),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_schema_that_takes_all_time_or_memory_is_refused_and_the_next_one_compiles(
    grammars: Grammars, text: str
) -> None:
    for _ in range(2):
        with pytest.raises(GrammarError, match="takes more than 2 seconds or 64 MB to compile"):
            of(grammars, text, "json")
    assert of(grammars, '{"type": "integer", "maximum": 7}', "json")


def test_a_check_that_was_killed_starts_again(byte_chat: ChatFormat) -> None:
    check = GrammarCheck(byte_chat.tokenizer.backend_tokenizer.to_str(), byte_chat.stop_ids)
    grammar = '{"grammars": [{"lark_grammar": "start: /a/"}]}'
    assert check.fault(grammar) == ""
    assert check._process
    check._process.kill()
    assert check.fault(grammar) == ""
    check.close()


def test_an_answer_that_becomes_too_costly_fails_alone(engine: Engine, chat: ChatFormat, grammars: Grammars) -> None:
    options = [{"type": "object", "properties": {f"p{i}": {}}, "required": [f"p{i}"]} for i in range(2100)]
    costly = of(grammars, json.dumps({"anyOf": options}), "json")  # all of them are open behind the first brace
    tokens = prompt(chat, "say")
    found = answer(engine, asked("base", tokens, 200, grammar=costly), asked("first", tokens, MOST))
    assert found[0].finish == "error" and "the answer cannot go on" in found[0].error
    assert found[1].error == "" and found[1].ids == answer(engine, asked("first", tokens, MOST))[0].ids


def test_a_tokenizer_without_bytes_is_told() -> None:
    chat = ChatFormat(word_tokenizer())
    grammars = Grammars(chat.tokenizer, chat.stop_ids)
    with pytest.raises(GrammarError, match="tokenizer cannot be constrained"):
        of(grammars, "a")
    grammars.close()


def test_a_vocabulary_that_the_model_fills_up_is_never_chosen_from(grammars: Grammars, chat: ChatFormat) -> None:
    logits = torch.zeros(len(chat.tokenizer) + 50)
    logits[-1] = 9.0
    masked = of(grammars, "a|b").begin().apply(logits)
    allowed = np.flatnonzero(masked.isfinite().numpy())
    assert [chat.tokenizer.decode([token]) for token in allowed] == ["a", "b"] and logits.isfinite().all()
