"""Conversations as the text that a base's chat template writes, in which what was given is marked as text."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast, final

from multitune.core.errors import ModelError
from multitune.core.records import Message
from multitune.core.untrusted import bound, within_seconds
from multitune.data.control_tokens import TextEncoder, special_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUESTION, ANSWER = "multitunequestion", "multituneanswer"  # plain words that no template trims or splits
ASKED = ({"role": "user", "content": QUESTION},)
# `enable_thinking` closes the thinking part of Qwen's prompt. Llama's template would print today's date, and a run
# must see the same tokens tomorrow; this is the date it falls back to itself. Other templates ignore both.
OPTIONS = {"enable_thinking": False, "date_string": "26 Jul 2024"}


@final
class ChatTemplate:
    """The chat template of a base: what it writes around turns, and what of them it leaves out.

    Without one the format is plain: every turn is a line, and the answer follows.

    Attributes:
        exists: whether the base has one.
        lead_in: what it writes before an answer only once there is one, such as the opening of the turn.
        space: what it puts before an answer's text, a space or nothing.
        closing: what it writes behind an answer.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", encoder: TextEncoder, system: str | None) -> None:
        """Find out what stands around an answer.

        Raises:
            ModelError: it refuses a plain question.
        """
        self._tokenizer, self._encoder, self._system = tokenizer, encoder, system
        self.exists = bool(tokenizer.chat_template)
        self.lead_in, self.space, self.closing = self._boundary()

    def given(self, value: Any) -> Any:
        """A value of a row in which every text is marked as given."""
        if isinstance(value, str):
            return self._encoder.given(value)
        if isinstance(value, Mapping):
            return {key: self.given(part) for key, part in cast(Mapping[str, Any], value).items()}
        return [self.given(part) for part in cast(list[Any], value)] if isinstance(value, list) else value

    def _messages(self, conversation: Sequence[Message]) -> list[dict[str, Any]]:
        """What the template is given: every text marked, with the system text where it reads one."""
        marked: list[dict[str, Any]] = [
            {"role": message["role"], **{key: self.given(value) for key, value in message.items() if key != "role"}}
            for message in conversation
        ]
        return self.with_system(marked, self.given(self._system) if self._system else None)

    def with_system(self, conversation: Sequence[Message], system: str | None) -> list[dict[str, Any]]:
        """A conversation with a system text, unless it has its own, where the template reads one."""
        messages = [dict(message) for message in conversation]
        if messages[0]["role"] == "system":
            system = messages.pop(0)["content"]
        if not system:
            return messages
        if not self._folds_system:
            return [{"role": "system", "content": system}, *messages]
        if not messages or messages[0]["role"] != "user":
            return [{"role": "user", "content": system}, *messages]
        return [{**messages[0], "content": f"{system}\n\n{messages[0]['content']}"}, *messages[1:]]

    def render(
        self,
        conversations: Sequence[Sequence[Message]],
        tools: Sequence[Sequence[Any]] = (),
        answered: bool = False,
    ) -> list[str]:
        """Conversations as the template writes them, up to the opening of an answer unless they are answered."""
        messages = [self._messages(conversation) for conversation in conversations]
        if any(tools) or any("tool_calls" in message for one in messages for message in one):
            self._require_tools()
        if not self.exists:
            return ["".join(f"{message['content']}\n" for message in one) for one in messages]
        lead_in = "" if answered else self.lead_in
        if not any(tools):
            return [text + lead_in for text in self._apply(messages, not answered)]
        marked: list[Any] = [self.given(list(each)) or None for each in tools]
        pairs = zip(messages, marked, strict=True)
        return [self._apply([one], not answered, each)[0] + lead_in for one, each in pairs]

    def _apply(
        self, conversations: list[list[dict[str, Any]]], add_generation_prompt: bool, tools: list[Any] | None = None
    ) -> list[str]:
        render: Any = self._tokenizer.apply_chat_template
        try:
            with within_seconds(bound("RENDER_SECONDS") + len(conversations) / 100):
                return render(
                    conversations, tools=tools, tokenize=False, add_generation_prompt=add_generation_prompt, **OPTIONS
                )
        except Exception as error:  # a template is a program of its author's and raises what it likes
            asked = len(conversations) == 1 and len(conversations[0]) > 1
            raise ModelError(
                f"base: its chat template refuses {'these turns' if asked else 'a plain question'} "
                f"({_first_line(error)}). "
                f"{'Correct the turns, or' if asked else 'Correct chat_template in its tokenizer, or'} "
                f"take {'another' if asked else 'the instruction-tuned'} base"
            ) from error

    def _require_tools(self) -> None:
        """Refuse tools and their calls where the template would leave them out without a word."""
        if not self._writes_tools:
            raise ModelError(
                "base: its chat template writes no tool calls. Take a base whose template does, or write the calls "
                "into the text of the turns"
            )

    @cached_property
    def _writes_tools(self) -> bool:
        function = {"name": ANSWER, "description": QUESTION, "parameters": {"type": "object", "properties": {}}}
        call = {"type": "function", "function": {"name": ANSWER, "arguments": {}}}
        calls = {"role": "assistant", "content": "", "tool_calls": [call]}
        try:
            offered = self._apply([[*ASKED]], True, [{"type": "function", "function": function}])[0]
            return ANSWER in offered and ANSWER in self._apply([[*ASKED, calls]], False)[0]
        except ModelError:
            return False

    @cached_property
    def _folds_system(self) -> bool:
        """Whether system text must go in front of the user's: the template raises on it, leaves it out, or is none."""
        if not self.exists:
            return True
        messages = [{"role": "system", "content": ANSWER}, {"role": "user", "content": QUESTION}]
        try:
            return ANSWER not in self._apply([messages], add_generation_prompt=True)[0]
        except ModelError:
            return True

    def _boundary(self) -> tuple[str, str, str]:
        """What stands around an answer: (text that belongs to the prompt, space before the answer, closing text)."""
        eos = str(self._tokenizer.eos_token or "")
        if not self.exists:
            return "", "", eos
        asked = self._messages(ASKED)
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
        ends = [after.find(token) + len(token) for token in special_texts(self._tokenizer) if token in after]
        return lead_in, between[len(lead_in) :], after[: min(ends)] if ends else eos


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
