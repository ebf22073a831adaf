"""Text to tokens as the base was taught to read it: its tokenizer, its chat template, the token that ends a turn."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from multitune.config.schema import ControlTokens
from multitune.core.bases import NO_CODE, BaseRef
from multitune.core.errors import ModelError, TaskError
from multitune.core.hub import require_on_hub
from multitune.core.paths import cache_folder, file_key
from multitune.core.records import Message
from multitune.core.untrusted import bound, within_seconds
from multitune.data.control_tokens import TextEncoder, special_texts

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LAYOUT = 2  # part of the fingerprint: a change of what this file makes of a row must miss the token cache
PROBE = "Größe 12,345.67 – naïve\n\tdéjà-vu 東京 🙂"  # shows what a tokenizer does to spaces, digits and accents
QUESTION, ANSWER = "multitunequestion", "multituneanswer"  # plain words that no template trims or splits
_ASKED = ({"role": "user", "content": QUESTION},)
# End tokens of many bases. An answer may end in those that are control tokens of this one.
ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "<end_of_turn>", "<eos>", "</s>")
# `enable_thinking` closes the thinking part of Qwen's prompt. Llama's template would print today's date, and a run
# must see the same tokens tomorrow; this is the date it falls back to itself. Other templates ignore both.
OPTIONS = {"enable_thinking": False, "date_string": "26 Jul 2024"}


def load_tokenizer(ref: BaseRef) -> "PreTrainedTokenizerBase":
    """The tokenizer of a base. That of a GGUF file is converted on first use and kept in the cache folder.

    Raises:
        ModelError: not found or damaged.
    """
    if not ref.gguf:
        require_on_hub(ref.location, "model", "base")
        return _read(ref.location)
    file = Path(ref.location) / ref.gguf
    folder = cache_folder() / "tokenizers" / f"{file.stem}-{file_key(file)}"
    if folder.is_dir():
        return _read(str(folder))
    tokenizer = _read(ref.location, ref.gguf)
    _keep(tokenizer, folder)
    return tokenizer


def _read(location: str, gguf: str = "") -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(location, **NO_CODE, **({"gguf_file": gguf} if gguf else {}))
    except Exception as error:  # the converters raise classes of every kind on a damaged file
        raise ModelError(
            f"base: no tokenizer could be read from {Path(location) / gguf} ({_first_line(error)}). "
            "Give a hub id, a folder with tokenizer.json, a .gguf file, or a built-in alias"
        ) from error


def _keep(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Save under a name of its own, then rename: another process sees a whole folder or none."""
    part = ""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = tempfile.mkdtemp(dir=folder.parent, prefix=".part-")
        tokenizer.save_pretrained(part)
        os.rename(part, folder)
    except OSError as error:  # no room, no right, or another was faster: the next start converts again or finds it
        _log.info("%s was not written (%s); the next start reads the GGUF file again", folder, error)
        if part:
            shutil.rmtree(part, ignore_errors=True)


@final
class ChatFormat:
    """How one base sees a prompt and its answer; training, scoring and generation all pass through here.

    Control tokens in prompts, answers and system texts are text, unless the mode is `parse`: the chat template alone
    writes real ones. Without one the format is plain: the prompt, a line break, the answer, the end-of-text token.

    Attributes:
        tokenizer: the base's tokenizer.
        space: what the template puts before an answer, a space or nothing.
        encoder: reads texts, and tells control tokens that were given from those of the template.
        stop_ids: tokens at which generation ends: the one that closes an answer, and end of text.
        ends: end tokens as text, which `Task` takes off the end of an answer; () in the mode `parse`.
        fingerprint: 16 hex digits over the template, the system text, the mode and the vocabulary.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", system: str | None = None, control_tokens: ControlTokens = "text"
    ) -> None:
        self.tokenizer = tokenizer
        self.encoder = TextEncoder(tokenizer, control_tokens)
        self._system = system
        self._templated = bool(tokenizer.chat_template)
        self._lead_in, self.space, self._closing = self._boundary()
        self._bos = [] if self._templated else self._opening_ids()
        # The words that end every prompt. Answers are tokenised behind them and cut off again.
        self._context = self._render([_ASKED])[0].rpartition(QUESTION)[2]
        self._context_ids = self.encoder.ids([self._context])[0]
        self._closing_ids = self._behind_prompt([self._closing])[0]
        if not self._closing_ids:
            raise ModelError("base: the tokenizer has no end-of-text token. Set eos_token in tokenizer_config.json")
        ends = [self._closing_ids[-1], tokenizer.eos_token_id]
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys(end for end in ends if isinstance(end, int)))
        stops: Any = tokenizer.convert_ids_to_tokens(list(self.stop_ids))
        self.ends = tuple(end for end in dict.fromkeys([*stops, *ENDS]) if end in self.encoder.control)
        self.fingerprint: str = self._digest()

    def answer_ids(self, answer: str) -> list[int]:
        """Tokens of the answer and of what closes its turn.

        Raises:
            TaskError: the answer holds nothing that turns into a token.
        """
        return self.encode_answers([answer])[0].tolist()

    def encode_prompts(self, prompts: Sequence[str]) -> list[np.ndarray]:
        """Tokens up to where the answer begins, the answering turn's opening included; int32 (prompt_token,) each."""
        return self.encode_conversations([[{"role": "user", "content": prompt}] for prompt in prompts])

    def encode_conversations(self, conversations: Sequence[Sequence[Message]]) -> list[np.ndarray]:
        """`encode_prompts` of messages so far, the last of them the user's.

        The run's system text stands before a conversation that has none of its own.
        """
        if not conversations:
            return []
        ids = self.encoder.ids(self._render(conversations))
        return [np.array(self._bos + one, dtype=np.int32) for one in ids]

    def encode_answers(self, answers: Sequence[str], names: Sequence[str] = ()) -> list[np.ndarray]:
        """`answer_ids` of many at once, int32 (answer_token,) each; `names` say in an error whose answer it is.

        Raises:
            TaskError: an answer holds nothing that turns into a token.
        """
        encoded = self._behind_prompt([f"{self.space}{self._given(answer)}{self._closing}" for answer in answers])
        for i, (answer, ids) in enumerate(zip(answers, encoded, strict=True)):
            if not answer.strip() or len(ids) <= len(self._closing_ids):
                name = f"{names[i]}: " if names else ""
                raise TaskError(f"{name}the answer {answer!r} turns into no token. Give the row an answer, or drop it")
        return [np.array(ids, dtype=np.int32) for ids in encoded]

    def _behind_prompt(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of texts as they stand behind a prompt, yet apart from it: training and inference meet one boundary.

        Tokenised alone, sentencepiece would put a space in front that no text has there. Where the boundary merges
        (a prompt that ends in a space), the text does stand alone.
        """
        cut = len(self._context_ids)
        different = list(dict.fromkeys(texts))  # a hundred thousand answers may be three labels
        behind = self.encoder.ids([self._context + text for text in different])
        found = {
            text: ids[cut:] if ids[:cut] == self._context_ids else self.encoder.ids([text])[0]
            for text, ids in zip(different, behind, strict=True)
        }
        return [found[text] for text in texts]

    def _given(self, text: str) -> str:
        return self.encoder.given(text)

    def _messages(self, conversation: Sequence[Message]) -> list[dict[str, str]]:
        messages = [{**message, "content": self._given(message["content"])} for message in conversation]
        if messages[0]["role"] == "system":
            system: str | None = messages.pop(0)["content"]
        else:
            system = self._given(self._system) if self._system else None
        if not system:
            return messages
        if not self._folds_system:
            return [{"role": "system", "content": system}, *messages]
        return [{**messages[0], "content": f"{system}\n\n{messages[0]['content']}"}, *messages[1:]]

    def _render(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        messages = [self._messages(conversation) for conversation in conversations]
        if not self._templated:
            return ["".join(f"{message['content']}\n" for message in one) for one in messages]
        return [text + self._lead_in for text in self._apply(messages, add_generation_prompt=True)]

    def _apply(self, conversations: list[list[dict[str, str]]], add_generation_prompt: bool) -> list[str]:
        render: Any = self.tokenizer.apply_chat_template
        try:
            with within_seconds(bound("RENDER_SECONDS") + len(conversations) / 100):
                return render(conversations, tokenize=False, add_generation_prompt=add_generation_prompt, **OPTIONS)
        except Exception as error:  # a template is a program of its author's and raises what it likes
            raise ModelError(
                f"base: its chat template refuses a plain question ({_first_line(error)}). "
                "Correct chat_template in its tokenizer, or take the instruction-tuned base"
            ) from error

    @cached_property
    def _folds_system(self) -> bool:
        """Whether system text must go in front of the user's: the template raises on it, leaves it out, or is none."""
        if not self._templated:
            return True
        messages = [{"role": "system", "content": ANSWER}, {"role": "user", "content": QUESTION}]
        try:
            return ANSWER not in self._apply([messages], add_generation_prompt=True)[0]
        except ModelError:
            return True

    def _boundary(self) -> tuple[str, str, str]:
        """What stands around an answer: (text that belongs to the prompt, space before the answer, closing text)."""
        eos = str(self.tokenizer.eos_token or "")
        if not self._templated:
            return "", "", eos
        asked = self._messages(_ASKED)
        prompt = self._apply([asked], add_generation_prompt=True)[0]
        try:
            full = self._apply([[*asked, {"role": "assistant", "content": ANSWER}]], False)[0]
        except ModelError:
            return "", "", eos
        before, found, after = full.rpartition(ANSWER)
        if not found:
            return "", "", eos
        # Compared behind the question alone: with an answer, Mistral's template leaves the system text out. Some
        # templates open the answering turn only once there is an answer; Mistral's puts a space before it, and that
        # space belongs to the answer's first token.
        before, opening = before.rpartition(QUESTION)[2], prompt.rpartition(QUESTION)[2]
        between = before[len(opening) :] if before.startswith(opening) else ""
        lead_in = between.rstrip(" ")
        ends = [after.find(token) + len(token) for token in special_texts(self.tokenizer) if token in after]
        return lead_in, between[len(lead_in) :], after[: min(ends)] if ends else eos

    def _opening_ids(self) -> list[int]:
        """What the tokenizer puts before a text by itself, such as a begin-of-text token; never what goes behind."""
        bare = self.encoder.ids([QUESTION])[0]
        full: Any = self.tokenizer(QUESTION, add_special_tokens=True)["input_ids"]
        starts = (i for i in range(len(full)) if full[i : i + len(bare)] == bare)
        return full[: next(starts, 0)]

    def _digest(self) -> str:
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        layout = [
            LAYOUT,
            self._bos,
            self._render([[{"role": "user", "content": PROBE}]]),
            self._closing_ids,
            self.answer_ids(PROBE),
            vocabulary,
            self.encoder.control,
        ]
        template = [str(self.tokenizer.chat_template), self._system, self.encoder.ids([PROBE])]
        return hashlib.sha256(json.dumps([template, layout]).encode()).hexdigest()[:16]


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
