"""Text to tokens as the base was taught to read it: its tokenizer, its chat template, the token that ends a turn."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from multitune.config.schema import ControlTokens
from multitune.core.bases import NO_CODE, BaseRef
from multitune.core.errors import ModelError, TaskError
from multitune.core.hub import require_on_hub
from multitune.core.paths import cache_folder, file_key
from multitune.core.records import Message
from multitune.data.chat_template import ASKED, QUESTION, ChatTemplate
from multitune.data.control_tokens import TextEncoder

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LAYOUT = 2  # part of the fingerprint: a change of what this file makes of a row must miss the token cache
PROBE = "Größe 12,345.67 – naïve\n\tdéjà-vu 東京 🙂"  # shows what a tokenizer does to spaces, digits and accents
# End tokens of many bases. An answer may end in those that are control tokens of this one.
ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "<end_of_turn>", "<eos>", "</s>")


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
        self._template = ChatTemplate(tokenizer, self.encoder, system)
        self.space = self._template.space
        self._opening = self._opening_ids()
        self._bos = [] if self._template.exists else self._opening
        # The words that end every prompt. Answers are tokenised behind them and cut off again.
        self._context = self._template.render([ASKED])[0].rpartition(QUESTION)[2]
        self._context_ids = self.encoder.ids([self._context])[0]
        self._closing_ids = self._behind_prompt([self._template.closing])[0]
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

    def encode_conversations(
        self, conversations: Sequence[Sequence[Message]], tools: Sequence[Sequence[Any]] = ()
    ) -> list[np.ndarray]:
        """`encode_prompts` of messages so far, up to where the assistant's next turn begins.

        Args:
            conversations: the run's system text stands before one that has none of its own.
            tools: that each conversation may call; none where absent.

        Raises:
            ModelError: the chat template refuses one of them, or leaves out its tools or their calls.
        """
        if not conversations:
            return []
        ids = self.encoder.ids(self._template.render(conversations, tools))
        return [np.array(self._bos + one, dtype=np.int32) for one in ids]

    def with_system(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Messages with the run's system text where the template reads one, for a server that writes the template."""
        return self._template.with_system(messages, self._system)

    def encode_reply(self, messages: Sequence[Message], reply: Message, tools: Sequence[Any] = ()) -> np.ndarray:
        """Tokens of a turn of the assistant as the template writes it, such as one with tool calls; int32 (token,).

        Args:
            messages: before it.
            reply: the turn; of one that is a text alone, `encode_answers` gives the same.
            tools: that it may call.

        Raises:
            ModelError: the chat template does not write such a turn behind the opening of an answer.
        """
        prompt = self._template.render([messages], [tools])[0]
        full = self._template.render([[*messages, reply]], [tools], answered=True)[0]
        behind = full[len(prompt) :]
        closing = self._template.closing
        if not full.startswith(prompt) or closing not in behind:
            raise ModelError("base: its chat template writes no such turn behind the opening of an answer")
        return np.array(self._behind_prompt([behind.partition(closing)[0] + closing])[0], dtype=np.int32)

    def encode_texts(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Tokens of plain texts, outside of any chat, with those that begin and end a text; int32 (token,) each.

        Raises:
            TaskError: a text turns into no token.
        """
        end: Any = self.tokenizer.eos_token_id
        ends = [end] if isinstance(end, int) else []
        found = [np.array([*self._opening, *ids, *ends], dtype=np.int32) for ids in self.encoder.text_ids(texts)]
        for text, ids in zip(texts, found, strict=True):
            if len(ids) < 2:
                raise TaskError(f"the text {text!r:.60} turns into no tokens to learn. Drop the row")
        return found

    def encode_answers(self, answers: Sequence[str], names: Sequence[str] = ()) -> list[np.ndarray]:
        """`answer_ids` of many at once, int32 (answer_token,) each; `names` say in an error whose answer it is.

        Raises:
            TaskError: an answer holds nothing that turns into a token.
        """
        encoded = self._behind_prompt(
            [f"{self.space}{self._template.given(answer)}{self._template.closing}" for answer in answers]
        )
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
            self._template.render([[{"role": "user", "content": PROBE}]]),
            self._closing_ids,
            self.answer_ids(PROBE),
            vocabulary,
            self.encoder.control,
        ]
        template = [str(self.tokenizer.chat_template), self._system, self.encoder.ids([PROBE])]
        return hashlib.sha256(json.dumps([template, layout]).encode()).hexdigest()[:16]


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
