"""Personal data and secrets in the rows of a run: counted by set and kind, shown masked, replaced in clean copies."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from multitune.audit.checks import Audited, AuditSet, Check, Found, Threshold
from multitune.audit.personal_patterns import KINDS, Kind, Match, find
from multitune.core.records import SPLITS, Split
from multitune.core.results.audit import Excerpt, Finding, Measure, Severity
from multitune.core.text import printable

NAME = "personal_data"
SHOWN = 3  # rows of each kind
AROUND = 60  # characters of an excerpt before and after what was found
_BATCH = 1000  # rows between two steps of the progress

TITLES: dict[Kind, str] = {
    "secret": "keys, tokens and passwords",
    "card": "payment card numbers",
    "iban": "IBANs",
    "national_id": "national identity and tax numbers",
    "document": "passport and driving licence numbers",
    "email": "e-mail addresses",
    "phone": "telephone numbers",
    "ip": "public IP addresses",
}
PLACEHOLDERS: dict[Kind, str] = {"national_id": "NATIONAL_ID"}
CONTACTS: frozenset[Kind] = frozenset({"email", "phone", "ip"})  # often meant to be there, as in support data
_ROLES = """
    abuse admin billing careers contact customerservice feedback help hello hr info investors ir jobs legal mail
    marketing media no-reply noreply office orders postmaster press privacy sales security service support team
"""
ROLES = frozenset(_ROLES.split())  # accounts of an organisation


@dataclass(slots=True)
class _Counts:
    """What one set holds of one kind."""

    rows: dict[Split, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    answers: int = 0  # training rows whose answer, which the model learns to write, holds one
    values: dict[int, int] = field(default_factory=dict[int, int])  # hash of each different one -> rows
    impersonal: int = 0  # addresses such as info@, which are no person's
    examples: list[Excerpt] = field(default_factory=list[Excerpt])


def masked(text: str) -> str:
    """A text in which a placeholder such as <EMAIL> stands for all personal data and secrets."""
    return _replaced(text, find(text), lambda match: _placeholder(match.kind))


def redactor(audited: Audited) -> Callable[[str], str]:
    """A function from a text to the text without personal data and secrets.

    One value has one placeholder, such as <EMAIL_3>, over all sets, whatever its spelling: numbers are given in the
    order in which the rows of the run hold the values, and after that in the order of the calls. A number that stands
    as a telephone or card number anywhere in the run is replaced everywhere.
    """
    numbers: dict[tuple[Kind, str], int] = {}
    counts = dict.fromkeys(KINDS, 0)
    of_digits: dict[str, Kind] = {}

    def number(match: Match) -> str:
        if (key := (match.kind, match.value)) not in numbers:
            counts[match.kind] += 1
            numbers[key] = counts[match.kind]
            if match.value.isdigit():
                of_digits.setdefault(match.value, match.kind)
        return _placeholder(match.kind, numbers[key])

    for one in audited.sets:
        for split in SPLITS:
            for _, prompt, answer in _texts(one, split):
                for match in (*find(prompt), *find(answer)):
                    number(match)
    return lambda text: _replaced(text, find(text, of_digits.get), number)


def _placeholder(kind: Kind, number: int | None = None) -> str:
    name = PLACEHOLDERS.get(kind, kind.upper())
    return f"<{name}>" if number is None else f"<{name}_{number}>"


def _replaced(text: str, matches: Iterable[Match], placeholder: Callable[[Match], str]) -> str:
    parts: list[str] = []
    end = 0
    for match in matches:
        parts += [text[end : match.start], placeholder(match)]
        end = match.end
    return "".join([*parts, text[end:]])


def _texts(one: AuditSet, split: Split) -> Iterator[tuple[str, str, str]]:
    """Id, prompt and answer of each row."""
    return zip(one.texts(split, "id"), one.texts(split, "prompt"), one.texts(split, "answer"), strict=True)


def _find(audited: Audited) -> Iterator[Found]:
    for one in audited.sets:
        every: dict[Kind, _Counts] = {}
        for split in SPLITS:
            _count(one, split, every, audited.advance)
        for kind in KINDS:
            if kind in every:
                yield _finding(one, kind, every[kind], audited)
                yield from _measures(one, kind, every[kind])


def _count(one: AuditSet, split: Split, every: dict[Kind, _Counts], advance: Callable[[int], None]) -> None:
    of_template = {match.value for match in find(one.task.config.prompt)}  # the same in every row, as its author meant
    waiting = 0
    for id_, prompt, answer in _texts(one, split):
        waiting += 1
        if waiting == _BATCH:
            advance(waiting)
            waiting = 0
        in_prompt, in_answer = find(prompt), find(answer)
        if not in_prompt and not in_answer:
            continue
        row: dict[Kind, set[str]] = {}
        for match in (*in_prompt, *in_answer):
            if match.value not in of_template:
                row.setdefault(match.kind, set()).add(match.value)
        for kind, values in row.items():
            counts = every.setdefault(kind, _Counts())
            counts.rows[split] += 1
            counts.answers += split == "train" and any(match.kind == kind for match in in_answer)
            counts.impersonal += kind == "email" and all(value.partition("@")[0] in ROLES for value in values)
            for value in values:
                key = hash(value)
                counts.values[key] = counts.values.get(key, 0) + 1
            if len(counts.examples) < SHOWN:
                text, match = next(
                    (text, match)
                    for text, found in ((prompt, in_prompt), (answer, in_answer))
                    for match in found
                    if match.kind == kind and match.value in values
                )
                shown = excerpt(text, match.start, match.end)
                counts.examples.append(Excerpt(set=one.name, split=split, row=id_, text=shown))
    advance(waiting)


def excerpt(text: str, start: int, end: int) -> str:
    """What stands around a part of a text, in one line, with all personal data masked."""
    matches = find(text)
    start, end = max(0, start - AROUND), end + AROUND
    for match in matches:  # none is cut in two, so that no half of it is shown
        start = match.start if match.start < start < match.end else start
        end = match.end if match.start < end < match.end else end
    inside = [match for match in matches if start <= match.start < end]
    shifted = [Match(match.start - start, match.end - start, match.kind, match.value) for match in inside]
    shown = _replaced(text[start:end], shifted, lambda match: _placeholder(match.kind))
    return ("…" if start else "") + printable(" ".join(shown.split())) + ("…" if end < len(text) else "")


def _finding(one: AuditSet, kind: Kind, counts: _Counts, audited: Audited) -> Finding:
    sizes = one.sizes()
    share = counts.answers / max(1, sizes["train"])
    threshold = audited.thresholds["contacts_in_answers"]
    rows = sum(counts.rows.values())
    most = max(counts.values.values())
    places = ", ".join(f"{count:,} {split}" for split, count in counts.rows.items() if count)
    message = f"{rows:,} {'row holds' if rows == 1 else 'rows hold'} {TITLES[kind]} "
    message += f"({places}; {len(counts.values):,} different"
    message += f", one in {most:,} rows" if most > 1 else ""
    message += f"; {counts.answers:,} in the answers of training rows)" if counts.answers else ")"
    if counts.impersonal:
        message += f"; in {counts.impersonal:,} rows only addresses of no person, such as info@"
    return Finding(
        check=NAME,
        severity=_severity(one, kind, counts, share, threshold),
        sets=(one.name,),
        subject=kind,
        message=message + ".",
        remedy=_remedy(one, kind, counts),
        rows=rows,
        of=sum(sizes.values()),
        value=share if kind in CONTACTS else rows / sum(sizes.values()),
        threshold=threshold if kind in CONTACTS else 0.0,
        examples=tuple(counts.examples),
    )


def _severity(one: AuditSet, kind: Kind, counts: _Counts, share: float, threshold: float) -> Severity:
    """High where a model learns what does harm once it is written: what opens an account or proves an identity."""
    trained = counts.rows["train"] > 0 and one.role != "retention"
    if kind in CONTACTS:
        return "medium" if trained and share > threshold else "low"
    return "high" if trained else "medium"


def _remedy(one: AuditSet, kind: Kind, counts: _Counts) -> str:
    if kind == "secret":
        return "Revoke them, for whoever has the data has them, and write cleaned copies with `--fix`."
    if kind not in CONTACTS:
        return "Write cleaned copies with `--fix`, which puts one placeholder for each number, and train on those."
    if counts.answers:
        return "If the model need not write them, replace them by placeholders with `--fix`; else accept the finding."
    return "Replace them by placeholders with `--fix`, or accept the finding if they are public or agreed to."


def _measures(one: AuditSet, kind: Kind, counts: _Counts) -> Iterator[Measure]:
    sizes = one.sizes()
    share = sum(counts.rows.values()) / sum(sizes.values())
    name = f"rows with {TITLES[kind]}"
    yield Measure(check=NAME, set=one.name, name=name, value=1000.0 * share, unit="per 1,000 rows")


THRESHOLDS = {
    "contacts_in_answers": Threshold(
        0.001, "from one answer in a thousand on a model meets contact data in every epoch and learns to write some"
    )
}
CHECKS: tuple[Check, ...] = (
    Check(NAME, "personal data and secrets, by pattern and checksum", _find, THRESHOLDS, redacts=redactor),
)
