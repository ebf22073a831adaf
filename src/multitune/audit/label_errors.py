"""quality.label_errors: labels that a linear model of words, trained on the other rows of the set, speaks against."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from multitune.audit.checks import Audited, AuditSet, Check, Found, Threshold
from multitune.audit.rows import shortened
from multitune.core.records import SPLITS, Split
from multitune.core.results.audit import Excerpt, Finding, Measure
from multitune.core.seeds import generator
from multitune.core.text import text_key

NAME = "quality.label_errors"
FOLDS = 5
LEAST_TEXTS = 100  # of fewer, such a model learns too little
MOST_TEXTS = 20_000  # of a set; of more, so many are drawn
SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Text:
    """A text of a set, by the first row that shows it."""

    split: Split
    place: int
    shown: str
    label: str


def out_of_fold(texts: Sequence[str], labels: np.ndarray, seed: int) -> np.ndarray:
    """How likely each label of each text is to a model that was trained on the other folds.

    Args:
        texts: not one twice, as a copy would give its label away.
        labels: int64 (text,), numbers from 0 on without a gap, each of at least FOLDS texts.
        seed: draws the folds, and the order in which a model sees its texts.

    Returns:
        float64 (text, label), rows sum to 1.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    # Words of one sign are kept, so that no text of digits or single letters leaves the vocabulary empty.
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\S+", max_features=50_000)
    model = make_pipeline(words, SGDClassifier(loss="log_loss", alpha=1e-5, random_state=seed))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return np.asarray(cross_val_predict(model, list(texts), labels, cv=folds, method="predict_proba"))


def suspects(likely: np.ndarray, labels: np.ndarray, margin: float, agreed: float) -> list[int]:
    """Places of the texts whose own label is unlikely, the least likely first.

    How many they are is counted by confident learning (Northcutt et al., JAIR 2021): a text counts as of another
    label where that label is likelier than it is, on average, for the texts that have it. Where nearly all texts are
    clear, that is too much to ask of a single wrong one, so a text counts as well where the model is sure.

    Args:
        likely: of `out_of_fold`.
        labels: int64 (text,).
        margin: by which another label must be likelier than a text's own for the model to be sure.
        agreed: the least `agreement` on a text's own label and on the other one, for it to be named. Without that,
            a model that knows nothing would name a text for every one that it guesses wrong.
    """
    from cleanlab.count import compute_confident_joint
    from cleanlab.filter import find_label_issues

    counted = np.asarray(compute_confident_joint(labels, likely, calibrate=False))
    known = agreement(counted) >= agreed
    # With more processes than one it would cost more than it saves.
    found = np.asarray(find_label_issues(labels, likely, filter_by="low_self_confidence", n_jobs=1), dtype=bool)
    own, best = likely[np.arange(len(labels)), labels], likely.argmax(axis=1)
    found |= likely.max(axis=1) - own >= margin
    found &= (best != labels) & known[labels] & known[best]
    order = np.argsort(own, kind="stable")
    return order[found[order]].tolist()


def agreement(counted: np.ndarray) -> np.ndarray:
    """How well given and confident labels agree on each label: 0 as by chance, 1 always.

    Args:
        counted: int64 (given label, confident label), texts.

    Returns:
        float64 (label,), the lower of two: of the texts given the label, and of those confidently taken to have it.
    """
    of_given, of_confident, both = counted.sum(axis=1), counted.sum(axis=0), np.diag(counted)
    chance = np.stack([of_confident, of_given]) / counted.sum()
    share = both / np.maximum(np.stack([of_given, of_confident]), 1)
    return ((share - chance) / (1.0 - chance)).min(axis=0)


def _find(audited: Audited) -> Iterator[Found]:
    for one in audited.sets:
        if one.kind == "classify":
            texts = _texts(one, audited.seed)
            if len(texts) >= LEAST_TEXTS and len({text.label for text in texts}) > 1:
                yield from _judged(audited, one, texts)
        audited.advance(sum(one.sizes().values()))


def _texts(one: AuditSet, seed: int) -> list[_Text]:
    """Every text of a set once, without those of labels that are too rare to be learned."""
    first: dict[str, _Text] = {}
    for split in SPLITS:
        for place, (shown, label) in enumerate(zip(one.shown(split), one.texts(split, "answer"), strict=True)):
            first.setdefault(text_key(shown), _Text(split, place, shown, label))
    texts = list(first.values())
    if len(texts) > MOST_TEXTS:
        drawn = generator(seed, NAME, one.name).permutation(len(texts))[:MOST_TEXTS]
        texts = [texts[at] for at in np.sort(drawn).tolist()]
    counts = Counter(text.label for text in texts)
    return [text for text in texts if counts[text.label] >= FOLDS]


def _judged(audited: Audited, one: AuditSet, texts: Sequence[_Text]) -> Iterator[Found]:
    names = sorted({text.label for text in texts})
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([numbers[text.label] for text in texts])
    likely = out_of_fold([text.shown for text in texts], labels, audited.seed)
    right = float((likely.argmax(axis=1) == labels).mean())
    yield Measure(check=NAME, set=one.name, name="accuracy of a linear model of words", value=right)
    suspect = suspects(likely, labels, audited.thresholds["margin"], audited.thresholds["agreed"])
    if not suspect:
        return
    share = len(suspect) / len(texts)
    held_out = sum(texts[at].split != "train" for at in suspect)
    yield Finding(
        check=NAME,
        severity="medium" if share >= audited.thresholds["share"] else "low",
        sets=(one.name,),
        message=f"{len(suspect)} of {len(texts)} texts, {held_out} of them held out, may have a wrong label: a linear "
        f"model of words that learned from the other rows (accuracy {right:.2f}) finds it unlikely",
        remedy="Look at them, those shown first: correct what is wrong, above all what is held out.",
        rows=len(suspect),
        of=len(texts),
        value=share,
        threshold=audited.thresholds["share"],
        examples=tuple(_excerpt(one, texts[at], names[int(likely[at].argmax())]) for at in suspect[:SHOWN]),
    )


def _excerpt(one: AuditSet, text: _Text, other: str) -> Excerpt:
    row = one.rows(text.split)[text.place]
    line = f"{shortened(text.label)}, or {shortened(other)}? {shortened(text.shown)}"
    return Excerpt(set=one.name, split=text.split, row=row.id, text=line)


CHECKS = (
    Check(
        name=NAME,
        title="labels that the other rows speak against",
        find=_find,
        thresholds={
            "margin": Threshold(0.8, "below it, most rows found are hard ones and not wrong ones"),
            "agreed": Threshold(0.3, "0 is chance; below, words know too little of a label to speak against it"),
            "share": Threshold(0.15, "up to 13% are named in published sets, where most of them are hard ones"),
        },
    ),
)
