import copy
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from multitune.core.bases import BaseRef, resolve_base
from multitune.core.errors import ModelError, TaskError
from multitune.core.paths import cache_folder
from multitune.data.tokenizer import ChatFormat, load_tokenizer

TEMPLATES = Path(__file__).parent / "templates"
# family -> the token that closes an answer; "smollm2" has the template of the tokenizer itself
CLOSING = {
    "smollm2": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "llama3.1": "<|eot_id|>",
    "mistral": "</s>",
    "qwen3": "<|im_end|>",
    "gemma": "<end_of_turn>",
    "gemma3": "<end_of_turn>",
    "phi3": "<|end|>",
    "no_opening": "<|end|>",
    "no_system": "<|end|>",
}
MARKS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "</s>", "<start_of_turn>", "<end_of_turn>"]
MARKS += ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<think>", "</think>"]
SYSTEM = "Answer like a banker."
PROMPT, ANSWERS = (
    "What is 2 + 2?\n\nThink — then say it.",
    ["4", "four", "Acme Corp, ORG\nJohn, PER", "(3.2)", "東京 🙂"],
)


# How Llama 3 and Qwen cut text: line breaks stay together. GPT-2, and SmolLM2 with it, cuts the last one off if a word
# follows, so that on its tokenizer their prompts, which end in two, would look otherwise alone than before an answer.
LINE_BREAKS_TOGETHER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def prompt_ids(chat: ChatFormat, prompt: str) -> list[int]:
    return chat.encode_prompts([prompt])[0].tolist()


def member(tokenizer: Any, family: str) -> Any:
    other = copy.deepcopy(tokenizer)
    other.add_tokens(MARKS, special_tokens=True)
    if family.startswith("mistral"):
        other.eos_token = "</s>"
    if family.startswith(("llama", "qwen")):
        cut = pre_tokenizers.Split(Regex(LINE_BREAKS_TOGETHER), "isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        other.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, byte_level])
    if family != "smollm2":
        other.chat_template = (TEMPLATES / f"{family}.jinja").read_text("utf-8")
    return other


@pytest.fixture(params=CLOSING, scope="module")
def family(request: pytest.FixtureRequest, tokenizer: Any) -> tuple[str, Any]:
    return request.param, member(tokenizer, request.param)


@pytest.mark.parametrize("system", [None, SYSTEM])
def test_prompt_and_answer_join_to_the_conversation_that_the_template_writes(
    family: tuple[str, Any], system: str | None
) -> None:
    name, tokenizer = family
    chat = ChatFormat(tokenizer, system)
    refused = name in ("gemma", "no_system")
    messages = [{"role": "user", "content": f"{system}\n\n{PROMPT}" if system and refused else PROMPT}]
    if system and not refused:
        messages = [{"role": "system", "content": system}, *messages]
    for answer in ANSWERS:
        full = tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": answer}],
            enable_thinking=False,
            date_string="26 Jul 2024",
            return_dict=False,
        )
        joined = prompt_ids(chat, PROMPT) + chat.answer_ids(answer)
        assert joined == full[: len(joined)]
        assert tokenizer.decode(joined[-1:]) == CLOSING[name]


def test_the_prompt_carries_the_system_text_once(family: tuple[str, Any]) -> None:
    _, tokenizer = family
    assert tokenizer.decode(prompt_ids(ChatFormat(tokenizer, SYSTEM), PROMPT)).count(SYSTEM) == 1


def test_an_answer_stops_at_the_token_that_closes_its_turn(family: tuple[str, Any]) -> None:
    name, tokenizer = family
    chat = ChatFormat(tokenizer)
    assert tokenizer.convert_tokens_to_ids(CLOSING[name]) in chat.stop_ids
    assert tokenizer.eos_token_id in chat.stop_ids
    assert chat.answer_ids("four")[-1] == chat.stop_ids[0]


def test_the_answer_reads_as_it_was_given(family: tuple[str, Any]) -> None:
    _, tokenizer = family
    chat = ChatFormat(tokenizer)
    for answer in ANSWERS:
        assert tokenizer.decode(chat.answer_ids(answer), skip_special_tokens=True).strip() == answer


def test_a_system_text_that_only_the_last_question_shows_keeps_the_answers_space(tokenizer: Any) -> None:
    other = member(tokenizer, "mistral_last")
    assert ChatFormat(other, SYSTEM).answer_ids("four") == ChatFormat(other).answer_ids("four")
    assert other.decode(ChatFormat(other, SYSTEM).answer_ids("four")) == " four</s>"


def test_a_template_that_prints_the_date_prints_the_same_one_every_day(tokenizer: Any) -> None:
    other = member(tokenizer, "llama3.1")
    assert "Today Date: 26 Jul 2024" in other.decode(prompt_ids(ChatFormat(other), PROMPT))


def test_without_a_template_the_prompt_is_a_line_of_plain_text(tokenizer: Any) -> None:
    other = copy.deepcopy(tokenizer)
    other.chat_template = None
    assert other.decode(prompt_ids(ChatFormat(other, SYSTEM), "Say it")) == f"{SYSTEM}\n\nSay it\n"
    assert ChatFormat(other).answer_ids("four")[-1] == other.eos_token_id


@pytest.fixture(scope="module")
def sentencepiece() -> Any:
    """A tokenizer of the Llama 2 kind: it puts a space in front of every text, a BOS before and an EOS behind."""
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>"))
    space_first = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split("\n", "isolated"), space_first])
    core.decoder = decoders.Metaspace(prepend_scheme="first")
    corpus = ["the answer is four\n", "what is it\nfour", "four and four is eight\nanswer"] * 5
    core.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>", "<s>", "</s>"]))
    core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def test_plain_text_joins_as_if_it_had_been_one(sentencepiece: Any) -> None:
    chat = ChatFormat(sentencepiece)
    joined = prompt_ids(chat, "what is it") + chat.answer_ids("four")
    assert joined == [1, *sentencepiece("what is it\nfour</s>", add_special_tokens=False)["input_ids"]]


def test_nothing_but_a_begin_token_comes_to_a_plain_prompt(sentencepiece: Any) -> None:
    ids = prompt_ids(ChatFormat(sentencepiece), "what is it")
    assert ids[0] == 1
    assert not {1, 2} & set(ids[1:])


def test_many_at_once_are_tokenised_as_one_by_one(chat: ChatFormat) -> None:
    prompts = ["short", "a much longer prompt " * 20, PROMPT]
    assert [ids.tolist() for ids in chat.encode_prompts(prompts)] == [prompt_ids(chat, p) for p in prompts]
    assert [ids.tolist() for ids in chat.encode_answers(ANSWERS)] == [chat.answer_ids(a) for a in ANSWERS]
    assert chat.encode_prompts([]) == []


@pytest.mark.parametrize("answer", ["", " \n"])
def test_an_answer_without_a_token_is_refused(chat: ChatFormat, answer: str) -> None:
    with pytest.raises(TaskError, match=r"row 7: the answer .* turns into no token"):
        chat.encode_answers(["fine", answer], ["row 6", "row 7"])


def test_the_fingerprint_follows_what_decides_the_tokens(tokenizer: Any) -> None:
    others = [member(tokenizer, family) for family in ("smollm2", "llama3")]
    prints = [ChatFormat(tokenizer), ChatFormat(tokenizer, SYSTEM), *map(ChatFormat, others)]
    assert len({chat.fingerprint for chat in prints}) == 4
    assert ChatFormat(copy.deepcopy(tokenizer)).fingerprint == prints[0].fingerprint


def test_a_template_that_cannot_be_rendered_is_refused(tokenizer: Any) -> None:
    other = copy.deepcopy(tokenizer)
    other.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(ModelError, match=r"its chat template refuses a plain question \(never"):
        ChatFormat(other)


def test_a_tokenizer_without_an_end_is_refused(sentencepiece: Any) -> None:
    endless = copy.deepcopy(sentencepiece)
    endless.eos_token = None
    with pytest.raises(ModelError, match="no end-of-text token"):
        ChatFormat(endless)


def test_a_converted_tokenizer_is_the_one_it_was_made_from(tokenizer: Any) -> None:
    assert any((cache_folder() / "tokenizers").iterdir())
    kept = load_tokenizer(resolve_base("smollm2-135m"))
    assert ChatFormat(kept, SYSTEM).fingerprint == ChatFormat(tokenizer, SYSTEM).fingerprint
    assert (kept.eos_token, kept.bos_token, kept.pad_token) == (
        tokenizer.eos_token,
        tokenizer.bos_token,
        tokenizer.pad_token,
    )


def test_a_cache_that_cannot_be_written_costs_time_only(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MULTITUNE_CACHE", str(tmp_path / "file"))
    assert load_tokenizer(resolve_base("smollm2-135m")).get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("gguf", ["", "broken.gguf"])
def test_a_base_without_a_tokenizer_is_refused(tmp_path: Path, gguf: str) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and nothing more")
    with pytest.raises(ModelError, match="base: no tokenizer could be read from"):
        load_tokenizer(BaseRef("mine", str(tmp_path), gguf))
