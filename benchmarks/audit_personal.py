"""Personal data found: precision, recall and speed on made rows, and on presidio-research's 1,500 rows.

`make bench PART=audit_personal`, with PRESIDIO=data/synth_dataset_v2.json of github.com/microsoft/presidio-research
(MIT) for the second part. Where presidio-analyzer is installed, its patterns are measured on the same rows.

The made rows come from Faker in many locales; their sentences are ours and name what stands in them in half of the
cases alone. One row in two is a hard negative, such as an order number or a price. Neither these rows nor those of
Presidio were unseen while the patterns were written.
"""

import json
import logging
import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import record
from multitune.audit.personal_patterns import Kind, find

COMMAND = "make bench PART=audit_personal PRESIDIO=data/synth_dataset_v2.json"
ROWS = 6000
OVERLAP = 0.5  # of a span found and a true one, from which on they are the same
LOCALES = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "sv_SE", "pl_PL", "pt_BR", "fi_FI", "no_NO")
SAYING: dict[Kind, Sequence[str]] = {
    "email": ("Please write to {} by Monday.", "{} has not confirmed yet", "cc: {}, and the others", "Contact <{}>"),
    "phone": ("My phone: {}", "You can call me at {} after six.", "Ask for Jane, {}", "{} is what he wrote down"),
    "card": (
        "My card {} was charged twice",
        "It was paid with {} yesterday",
        "Visa {} expires soon",
        "{} is declined.",
    ),
    "iban": ("Transfer it to {} please", "IBAN: {}", "The account {} is closed", "from {} to my wife"),
    "national_id": ("SSN: {}", "my social security number is {}", "The tax id {} is wrong", "national id {} on file"),
    "ip": ("Login from {} failed", "The server {} is down", "client {} timed out", "GET / from {}"),
    "secret": ("export TOKEN={}", "the key is {} for now", "use {} to log in", "Authorization: Bearer {}"),
}
PRESIDIO_KINDS: dict[str, Kind] = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "US_SSN": "national_id",
    "IP_ADDRESS": "ip",
    "US_DRIVER_LICENSE": "document",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A text, and where personal data stands in it."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


Finder = Callable[[str], Iterable[tuple[int, int, str]]]


def main() -> None:
    """Measure and record."""
    rows = made_rows()
    figures: dict[str, Any] = {"made rows": measured(rows, ours)}
    finder = presidio()
    if finder:
        figures["made rows, presidio-analyzer's patterns"] = measured(rows, finder)
    if path := os.environ.get("PRESIDIO"):
        rows = public_rows(Path(path))
        figures["presidio-research's rows"] = measured(rows, ours)
        if finder:
            figures["presidio-research's rows, presidio-analyzer's patterns"] = measured(rows, finder)
    print(json.dumps(figures, indent=2))
    record("audit_personal", COMMAND, figures)


def ours(text: str) -> Iterable[tuple[int, int, str]]:
    """What the audit finds."""
    return [(match.start, match.end, match.kind) for match in find(text)]


def made_rows() -> list[Row]:
    """Rows of Faker, the same every time."""
    from faker import Faker  # pyright: ignore[reportMissingImports]

    rng = random.Random(17)
    fakers = [Faker(locale) for locale in LOCALES]
    for place, faker in enumerate(fakers):
        faker.seed_instance(17 + place)
    rows: list[Row] = []
    for place in range(ROWS):
        faker = rng.choice(fakers)
        if place % 2:
            rows.append(Row(negative(rng, faker), ()))
            continue
        kind = rng.choice(list(SAYING))
        value = made(kind, rng, faker, fakers)
        before, after = rng.choice(SAYING[kind]).split("{}")
        rows.append(Row(before + value + after, ((len(before), len(before) + len(value), kind),)))
    return rows


def made(kind: Kind, rng: random.Random, faker: Any, fakers: Sequence[Any]) -> str:
    """One value of a kind."""
    american = fakers[0]
    match kind:
        case "email":
            return faker.ascii_free_email() if rng.random() < 0.7 else faker.ascii_company_email()
        case "phone":
            return faker.phone_number()
        case "card":
            number = american.credit_card_number()
            groups = [number[start : start + 4] for start in range(0, len(number), 4)]
            return rng.choice([" ", "-"]).join(groups) if len(number) == 16 and rng.random() < 0.5 else number
        case "iban":
            number = faker.iban()
            spaced = " ".join(number[start : start + 4] for start in range(0, len(number), 4))
            return spaced if rng.random() < 0.5 else number
        case "national_id":
            return rng.choice([american, fakers[4], fakers[5], fakers[7], fakers[8], fakers[10]]).ssn()
        case "ip":
            return faker.ipv4_public() if rng.random() < 0.8 else _global_ipv6(rng)
        case _:
            return secret(rng)


def _global_ipv6(rng: random.Random) -> str:
    return "2a02:" + ":".join(f"{rng.randrange(65536):x}" for _ in range(7))


def secret(rng: random.Random) -> str:
    """A key of one of the usual forms."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

    def some(length: int, of: str = letters) -> str:
        return "".join(rng.choice(of) for _ in range(length))

    payload = "eyJzdWIiOiI" + some(30)
    forms = ["AKIA" + some(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), "ghp_" + some(36), "sk-proj-" + some(48)]
    forms += ["xoxb-" + some(12, "0123456789") + "-" + some(24), "AIza" + some(35), "sk_live_" + some(24)]
    forms += ["eyJhbGciOiJIUzI1NiJ9." + payload + "." + some(43), "glpat-" + some(20)]
    return rng.choice(forms)


def negative(rng: random.Random, faker: Any) -> str:
    """A row with a number, name or word that looks like personal data and is none."""
    number = rng.randrange
    forms = [
        f"Order {number(10**8, 10**12)} has shipped",
        f"The invoice of {faker.date()} was {number(10**3, 10**6) / 100:.2f} EUR",
        f"Revenue rose to ${number(10**6, 10**9):,} from ${number(10**6, 10**9):,}",
        f"Version {number(10)}.{number(20)}.{number(30)}.{number(9)} fixes it",
        f"ISBN {faker.isbn13()} is out of print",
        f"[{faker.iso8601()}] {number(10**12, 2 * 10**12)} ms since the epoch",
        f"2019 2018 2017 {number(100, 999)} {number(100, 999)} {number(100, 999)}",
        f"tracking number {faker.bothify('1Z###??########')}",
        f"{number(100)}.{number(100)} {number(100)}.{number(100)} {number(100)}.{number(100)} in millions",
        f"@{faker.user_name()} said it at {faker.time()}",
        f"10.{number(256)}.{number(256)}.{number(256)} is on our network",
        f"the answer is {number(10**5, 10**7) / number(3, 977)}",
        f"doi:10.{number(1000, 9999)}/{faker.bothify('s#####-###-#####-#')}",
        f"see pages {number(100, 200)}-{number(200, 300)} and {number(1000, 9999)}-{number(1000, 9999)}",
        f"commit {faker.sha1()}",
        "The password is required, and the token is optional.",
        f"part no. {faker.bothify('??-####-###')}, quantity {number(1, 10**6)}",
        f"from {faker.date()} to {faker.date()}, {number(10**9, 10**10)} people",
    ]
    return rng.choice(forms)


def public_rows(path: Path) -> list[Row]:
    """The rows of presidio-research, with the kinds that patterns can find."""
    rows = json.loads(path.read_text("utf-8"))
    return [Row(row["full_text"], tuple(_spans(row["spans"]))) for row in rows]


def _spans(spans: Sequence[dict[str, Any]]) -> Iterable[tuple[int, int, str]]:
    for span in spans:
        if kind := PRESIDIO_KINDS.get(span["entity_type"]):
            yield span["start_position"], span["end_position"], kind


def measured(rows: Sequence[Row], finder: Finder) -> dict[str, Any]:
    """Precision and recall by kind and of all, and rows per second of one core."""
    for row in rows[:100]:  # what is loaded at first use is no part of the speed
        list(finder(row.text))
    began = time.process_time()
    found = [list(finder(row.text)) for row in rows]
    seconds = time.process_time() - began
    kinds = sorted({kind for row in rows for *_, kind in row.spans})
    right, wrong, missed = (dict.fromkeys(kinds, 0) for _ in range(3))
    for row, spans in zip(rows, found, strict=True):
        open_ = list(row.spans)
        for span in spans:
            hit = next((one for one in open_ if _same(one, span)), None)
            if hit:
                open_.remove(hit)
            counted = right if hit else wrong
            counted[span[2]] = counted.get(span[2], 0) + 1
        for *_, kind in open_:
            missed[kind] += 1
    figures: dict[str, Any] = {kind: _scores(right[kind], wrong.get(kind, 0), missed[kind]) for kind in kinds}
    figures["all"] = _scores(sum(right.values()), sum(wrong.values()), sum(missed.values()))
    return {"rows": len(rows), **figures, "rows per second of one core": round(len(rows) / seconds)}


def _same(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return one[2] == other[2] and shared >= OVERLAP * (max(one[1], other[1]) - min(one[0], other[0]))


def _scores(right: int, wrong: int, missed: int) -> dict[str, float]:
    found, true = right + wrong, right + missed
    return {
        "precision": round(right / found, 3) if found else 1.0,
        "recall": round(right / true, 3) if true else 1.0,
        "spans": true,
    }


def presidio() -> Finder | None:
    """The pattern recognizers of presidio-analyzer for the same kinds, without a language model; None without it."""
    try:
        from presidio_analyzer import predefined_recognizers as known  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    logging.getLogger("presidio-analyzer").setLevel(logging.CRITICAL)
    names = ("CreditCard", "Email", "Iban", "Ip", "Phone", "UsSsn")
    recognizers = [getattr(known, f"{name}Recognizer")() for name in names]

    def finder(text: str) -> list[tuple[int, int, str]]:
        found = [one for each in recognizers for one in each.analyze(text, each.supported_entities, None) or []]
        kept: list[Any] = []
        for one in sorted(found, key=lambda one: (-one.score, one.start)):
            if all(one.end <= other.start or one.start >= other.end for other in kept):
                kept.append(one)
        return [(one.start, one.end, PRESIDIO_KINDS[one.entity_type]) for one in kept]

    return finder


if __name__ == "__main__":
    main()
