"""What asking a paid model costs: prices, caps, and a ledger that lets no request begin that could break a cap."""

from dataclasses import dataclass

from multitune.core.errors import BudgetError

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """Money per million tokens, in the currency of the user."""

    prompt: float
    answer: float

    def cost(self, prompt_tokens: int, answer_tokens: int) -> float:
        """Money for so many tokens."""
        return (self.prompt * prompt_tokens + self.answer * answer_tokens) / MILLION


@dataclass(frozen=True, slots=True)
class Caps:
    """Most that a comparison may use in all, answers paid for earlier included; None for no cap."""

    tokens: int | None = None  # prompt and answer together
    cost: float | None = None  # needs prices


@dataclass(slots=True)
class Ledger:
    """Tokens used, and those that requests under way may still use."""

    caps: Caps
    prices: Prices | None = None
    prompt_tokens: int = 0
    answer_tokens: int = 0
    reserved_prompt: int = 0
    reserved_answer: int = 0

    @property
    def cost(self) -> float | None:
        """Money used; None without prices."""
        return self.prices.cost(self.prompt_tokens, self.answer_tokens) if self.prices else None

    @property
    def is_waited_for(self) -> bool:
        """Whether a request under way may still give back some of what it set aside."""
        return self.reserved_prompt + self.reserved_answer > 0

    def refusal(self, prompt_tokens: int, most_answer_tokens: int) -> str:
        """Which cap one more request could break, in words; empty where none."""
        prompt = self.prompt_tokens + self.reserved_prompt + prompt_tokens
        answer = self.answer_tokens + self.reserved_answer + most_answer_tokens
        if self.caps.tokens is not None and prompt + answer > self.caps.tokens:
            used = self.prompt_tokens + self.answer_tokens
            return f"--max-tokens-total {self.caps.tokens:,}: used {used:,}, and the next request could go beyond it"
        if self.caps.cost is not None and self.prices and self.prices.cost(prompt, answer) > self.caps.cost:
            return f"--max-cost {self.caps.cost:g}: used {self.cost:.4f}, and the next request could go beyond it"
        return ""

    def reserve(self, prompt_tokens: int, most_answer_tokens: int) -> None:
        """Set aside the most that one request can use.

        Raises:
            BudgetError: it could break a cap.
        """
        if refusal := self.refusal(prompt_tokens, most_answer_tokens):
            raise BudgetError(f"{refusal}. Raise it to go on")
        self.reserved_prompt += prompt_tokens
        self.reserved_answer += most_answer_tokens

    def release(self, prompt_tokens: int, most_answer_tokens: int) -> None:
        """Give back what `reserve` set aside."""
        self.reserved_prompt -= prompt_tokens
        self.reserved_answer -= most_answer_tokens

    def spend(self, prompt_tokens: int, answer_tokens: int) -> None:
        """Book tokens that were used."""
        self.prompt_tokens += prompt_tokens
        self.answer_tokens += answer_tokens
