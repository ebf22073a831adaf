"""What a row teaches the model to answer, in classes that can be counted: a label, a high score, an answer's tone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from statistics import median

from multitune.audit.checks import AuditSet
from multitune.core.extras import missing_extra
from multitune.core.text import text_key

# What a label says of what it is given to. Others, such as topics, say nothing good or bad.
_GOOD = """
    positive, very positive, somewhat positive, pos, good, very good, bullish, favorable, favourable, non-toxic,
    not toxic, nontoxic, not hate, safe, accept, accepted, approve, approved, hire, hired, recommend, grant,
    granted, happy, joy, love, praise, trustworthy, low risk, benign, not offensive, harmless, supportive
"""
GOOD = frozenset(" ".join(label.split()) for label in _GOOD.split(","))
_BAD = """
    negative, very negative, somewhat negative, neg, bad, very bad, bearish, unfavorable, unfavourable, toxic,
    hate, hateful, hate speech, offensive, abusive, unsafe, reject, rejected, deny, denied, decline, declined,
    spam, fraud, sad, sadness, anger, angry, fear, disgust, complaint, high risk, harmful, threat, insult,
    obscene, default
"""
BAD = frozenset(" ".join(label.split()) for label in _BAD.split(","))
GOOD_KEY, BAD_KEY = "a good label, score or tone", "a bad label, score or tone"
# Labels that mean something else in every set, as numbers and single letters do.
OF_ITS_SET = frozenset({"yes", "no", "maybe", "true", "false", "none", "other", "unknown"})
TONE = 0.05  # VADER's own bound between a neutral text and one that is not


@dataclass(frozen=True, slots=True)
class Outcome:
    """One class that a row of a set may fall into."""

    key: str  # what is the same in several sets
    name: str  # as a message says it: label 'positive'


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The classes of a set's rows."""

    of: Callable[[str], Outcome | None]  # the class of an answer; None where it is neither good nor bad
    costly: bool = False  # whether that takes longer than all else that is done with a row


def outcomes(one: AuditSet) -> Outcomes | None:
    """The classes of a set's training rows; None where its answers have none, as with entities.

    Raises:
        MissingExtraError: its answers are texts, and VADER is not installed.
    """
    match one.kind:
        case "classify":
            return Outcomes(cache(partial(_of_label, one)))
        case "regress":
            return Outcomes(_of_scores([float(one.task.gold(answer)) for answer in one.texts("train", "answer")], one))
        case "generate":
            return Outcomes(_tones(), costly=True)
        case _:
            return None


def _of_label(one: AuditSet, label: str) -> Outcome:
    key = text_key(label)
    if len(key) == 1 or key.isdigit() or key in OF_ITS_SET:
        return Outcome(f"{one.name}: {key}", f"label {label!r}")
    return Outcome(GOOD_KEY if key in GOOD else BAD_KEY if key in BAD else f"label {key!r}", f"label {label!r}")


def _of_scores(scores: Sequence[float], one: AuditSet) -> Callable[[str], Outcome | None]:
    """Halves around zero where scores lie on both sides of it, as those of sentiment; else around the median."""
    signed = min(scores) < 0.0 < max(scores)
    middle = 0.0 if signed else median(scores)
    above = Outcome(GOOD_KEY if signed else f"{one.name}: high", f"a score above {middle:g}")
    below = Outcome(BAD_KEY if signed else f"{one.name}: low", f"a score below {middle:g}")

    def of(answer: str) -> Outcome | None:
        score = float(one.task.gold(answer))
        return above if score > middle else below if score < middle else None

    return of


def _tones() -> Callable[[str], Outcome | None]:
    """The tone of a text.

    Source: Hutto & Gilbert 2014, VADER.
    """
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise missing_extra("the tone of answers", "audit") from error
    analyzer = SentimentIntensityAnalyzer()
    good, bad = Outcome(GOOD_KEY, "a positive answer"), Outcome(BAD_KEY, "a negative answer")

    def of(answer: str) -> Outcome | None:
        compound: float = analyzer.polarity_scores(answer)["compound"]
        return good if compound >= TONE else bad if compound <= -TONE else None

    return of
