"""Text to tokens: a control token that a row or a user wrote stays text; the chat template alone writes real ones."""

import json
import os
import re
import secrets
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

from multitune.config.schema import ControlTokens
from multitune.core.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Turns as every template writes them: whatever added token stands in these is written between turns.
_TURNS = (
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
    [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}],
)


def control_texts(tokenizer: "PreTrainedTokenizerBase") -> tuple[str, ...]:
    """The control tokens of a tokenizer as text: special ones, and others that its template writes between turns.

    An added token that is not marked special and stands inside a turn, such as `<think>`, is part of the answer.
    """
    special = special_texts(tokenizer)
    others = {str(token) for token in tokenizer.added_tokens_decoder.values()} - special
    turns = "".join(_rendered(tokenizer, turns) for turns in _TURNS) if others and tokenizer.chat_template else ""
    return tuple(sorted(special | {token for token in others if token in turns and not token.isspace()}))


def special_texts(tokenizer: "PreTrainedTokenizerBase") -> set[str]:
    """The tokens that a tokenizer marks as special, as text."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return {text for text in added | set(tokenizer.all_special_tokens) if text}


def _rendered(tokenizer: "PreTrainedTokenizerBase", turns: list[dict[str, str]]) -> str:
    render: Any = tokenizer.apply_chat_template
    try:
        return render(turns, tokenize=False)
    except Exception:  # a template is a program of its author's: this one takes no such turns
        return ""


@final
class TextEncoder:
    """A tokenizer that tells text which was given from text which the chat template wrote.

    What passed through `given` stays text, also inside a longer text; whatever stands around it is read as the
    tokenizer reads it, control tokens included. Texts without a control token are tokenised as ever.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", mode: ControlTokens = "text") -> None:
        """Find the control tokens; `parse` leaves them control tokens wherever they stand."""
        self._tokenizer = tokenizer
        self.control: tuple[str, ...] = control_texts(tokenizer) if mode == "text" else ()
        longest_first = sorted(self.control, key=len, reverse=True)
        self._found = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        # Drawn anew in each process, so that no text can hold it. No token depends on it.
        self._secret = secrets.token_hex(8)
        self._given = re.compile(rf"<{self._secret}-(\d+)>")
        self._replaced = re.compile(f"{self._given.pattern}|{self._found.pattern}")
        if tokenizer.is_fast:  # its file may say to cut or to pad every text
            self._library.no_truncation()
            self._library.no_padding()

    def holds(self, text: str) -> bool:
        """Whether the tokenizer would read a control token in this text."""
        if self._found.search(text):
            return True
        return self._normalizer is not None and bool(self._found.search(self._normalizer.normalize_str(text)))

    def given(self, text: str) -> str:
        """The text for `ids`, in which control tokens are marked as text."""
        if not self.holds(text):
            return text
        marked = self._found.sub(lambda found: f"<{self._secret}-{self.control.index(found[0])}>", text)
        if marked != text:
            return marked
        # Another spelling of a control token, which has no mark of its own. White space at the ends stays at the ends.
        return re.sub(r"\S", lambda found: f"{found[0]}<{self._secret}-{len(self.control)}>", text, count=1)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text, without those that the tokenizer would put around it."""
        careful = [at for at, text in enumerate(texts) if self._secret in text] if self.control else []
        if not careful:
            return self._parsed(texts)
        parsed = iter(self._parsed([text for text in texts if self._secret not in text]))
        return [self._unparsed(text) if self._secret in text else next(parsed) for text in texts]

    def text_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of texts that were given as a whole."""
        return self.ids([self.given(text) for text in texts])

    def _parsed(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        if self._tokenizer.is_fast:  # straight to the library below, which else also makes masks that nobody reads
            head, tail = self._shared(texts)
            parts = [head, tail, *(text[len(head) : len(text) - len(tail)] for text in texts)]
            before, behind, *between = (
                found.ids for found in self._library.encode_batch_fast(parts, add_special_tokens=False)
            )
            return [before + ids + behind for ids in between] if head or tail else between
        # `verbose` would warn of long rows, which are reported elsewhere.
        ids: Any = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _shared(self, texts: Sequence[str]) -> tuple[str, str]:
        """What the texts begin and end with, up to an added token each: tokenised once, it is the same in all of them.

        A tokenizer finds added tokens first, and reads what stands between two of them by itself. As what follows the
        beginning still starts with a token, it is not read as a first text either.
        """
        if len(texts) == 1:
            return "", ""
        head = os.path.commonprefix(texts)  # noqa: RUF071 (characters are meant)
        head = head[: max(self._borders(head), default=0)]
        room = min(map(len, texts)) - len(head)
        tail = os.path.commonprefix([text[len(text) - room :][::-1] for text in texts])[::-1]  # noqa: RUF071
        return head, tail[min(self._borders(tail), default=len(tail)) :]

    def _borders(self, text: str) -> list[int]:
        """Where tokens of `_added` begin in a text."""
        found = [token for token in self._added if token in text and self._stands_alone(token)]
        return [match.start() for token in found for match in re.finditer(re.escape(token), text)]

    @cached_property
    def _added(self) -> dict[str, bool | None]:
        """Added tokens that are found whatever stands around them; `_stands_alone` notes its findings."""
        added = self._library.get_added_tokens_decoder().values()
        return {str(one): None for one in added if not (one.normalized or one.lstrip or one.single_word)}

    def _stands_alone(self, token: str) -> bool:
        """Whether no added token could reach into this one from in front, and be found in its place."""
        if (known := self._added[token]) is None:
            others = [str(one) for one in self._library.get_added_tokens_decoder().values()]
            starts = tuple(token[:end] for end in range(1, len(token)))
            known = not any(token in other[1:] or other[1:].endswith(starts) for other in others)
            self._added[token] = known
        return known

    def _unparsed(self, text: str) -> list[int]:
        if not self._tokenizer.is_fast:
            return self._unparsed_slowly(text)
        texts = [*self.control, ""]
        renamed = self._replaced.sub(lambda found: texts[int(found[1])] if found[1] else self._names[found[0]], text)
        ids: list[int] = self._without_control.encode(renamed, add_special_tokens=False).ids
        return [self._numbers.get(token, token) for token in ids]

    def _unparsed_slowly(self, text: str) -> list[int]:
        """By transformers, piece by piece around each control token: such a tokenizer cannot be changed as a whole."""
        from transformers.utils.chat_template_utils import encode_marked_chat, mark_control_tokens

        marks = [mark_control_tokens(control, re.compile(re.escape(control))) for control in (*self.control, "")]
        try:
            ids: Any = encode_marked_chat(self._tokenizer, self._given.sub(lambda found: marks[int(found[1])], text))
            return ids
        except ValueError as error:
            raise ModelError(
                f"base: {error}. Take the control token out of the row, or set control_tokens: parse"
            ) from error

    @property
    def _library(self) -> Any:
        return getattr(self._tokenizer, "backend_tokenizer")  # noqa: B009 (not in the type's stub)

    @cached_property
    def _normalizer(self) -> Any:
        """What turns other spellings into control tokens, where the tokenizer looks for them behind it."""
        behind = any(token.normalized for token in self._tokenizer.added_tokens_decoder.values())
        return self._library.normalizer if behind and self.control and self._tokenizer.is_fast else None

    @cached_property
    def _names(self) -> dict[str, str]:
        """What each control token is called in `_without_control`."""
        return {text: f"<{self._secret}-control-{number}>" for number, text in enumerate(self.control)}

    @cached_property
    def _without_control(self) -> Any:
        """The same tokenizer, in which the control tokens have other names: their own text is text like any other."""
        from tokenizers import Tokenizer

        whole = json.loads(self._library.to_str())
        whole["post_processor"] = None  # it names control tokens, and is of no use here
        for token in whole["added_tokens"]:
            token["content"] = self._names.get(token["content"], token["content"])
        _rename(whole["model"], self._names)
        return Tokenizer.from_str(json.dumps(whole))

    @cached_property
    def _numbers(self) -> dict[int, int]:
        """Numbers of `_without_control` that the tokenizer itself has otherwise."""
        added = self._library.get_added_tokens_decoder().items()
        numbers = {self._without_control.token_to_id(self._names.get(str(t), str(t))): own for own, t in added}
        return {number: own for number, own in numbers.items() if number is not None and number != own}


def _rename(model: dict[str, Any], names: dict[str, str]) -> None:
    """Rename pieces of a model's vocabulary: it would find a control token that is one of them without any parsing."""
    vocabulary = model["vocab"]
    # What the model looks up by name must keep it: pieces that are merged from others, and those of single bytes.
    merges: list[Any] = model.get("merges", [])
    pairs = [pair if isinstance(pair, list) else pair.split(" ", 1) for pair in merges]
    fixed = {part for pair in pairs for part in (*pair, "".join(pair))}
    if model.get("byte_fallback"):
        fixed |= {f"<0x{number:02X}>" for number in range(256)}
    free = {text: name for text, name in names.items() if text not in fixed}
    if isinstance(vocabulary, list):  # unigram
        model["vocab"] = [[free.get(piece, piece), score] for piece, score in vocabulary]
    else:
        model["vocab"] = {free.get(piece, piece): number for piece, number in vocabulary.items()}
    if (unknown := model.get("unk_token")) is not None:
        model["unk_token"] = free.get(unknown, unknown)
