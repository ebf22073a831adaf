"""quality.language: rows of another language are found, and names, short texts and mixed sets left in peace."""

import pytest

from multitune.audit.language import CHECKS, identifier
from multitune.core.errors import MissingExtraError
from tests.audit.audited_sets import audit_set, audited, example_rows, findings

(CHECK,) = CHECKS
TWEETS = example_rows("finance/data/tweets/train.jsonl", text="text", answer="label")
GERMAN = "Bitte teilen Sie mir mit, wann die Überweisung auf meinem Konto eintrifft."
SPANISH = "Quiero saber por qué mi tarjeta fue rechazada en la tienda esta mañana."


def said(text: str) -> dict[str, str]:
    return {"text": text, "answer": "neutral"}


def test_rows_in_another_language_are_found_with_their_languages() -> None:
    rows = [*TWEETS[:200], said(GERMAN), said(SPANISH), said(SPANISH + " Gracias.")]
    plain = findings(CHECK, audit_set("tweets", TWEETS[:200]))
    (found,) = findings(CHECK, audit_set("tweets", rows))
    assert plain == [] and found.rows == 3 and found.message.endswith("than en, which the set is in (es 2, de 1)")
    assert GERMAN in found.examples[0].text and found.examples[0].row == audit_set("t", rows).rows("train")[200].id


def test_held_out_rows_and_answers_count_as_well() -> None:
    rows = [
        {"text": f"Translate number {n} into English.", "answer": row["text"]} for n, row in enumerate(TWEETS[:60])
    ]
    held = {"train": rows, "test": [{"text": "Answer.", "answer": GERMAN}]}
    (found,) = findings(CHECK, audit_set("answers", held, kind="generate"))
    assert (found.rows, found.examples[0].split) == (1, "test")


@pytest.mark.parametrize(
    "text", ["Crème brûlée à la carte", "Müller, Schmidt, Weiß: Düsseldorf", "$TSLA ¡olé! #España 2020"]
)
def test_short_texts_and_names_are_not_believed(text: str) -> None:
    assert findings(CHECK, audit_set("tweets", [*TWEETS[:200], *([said(text)] * 5)])) == []


def test_a_set_of_two_languages_has_no_rows_that_are_out_of_place() -> None:
    rows = [*TWEETS[:60], *(said(f"{GERMAN} Vorgang {n}.") for n in range(40))]
    assert findings(CHECK, audit_set("mixed", rows)) == []
    assert findings(CHECK, audit_set("mixed", rows), main=0.5)[0].rows == 40


def test_of_few_texts_nothing_is_said() -> None:
    assert findings(CHECK, audit_set("few", [*TWEETS[:10], said(GERMAN)])) == []


def test_without_the_package_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    identifier.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "py3langid.langid", None)
    with pytest.raises(MissingExtraError, match=r"multitune\[audit\]"):
        list(CHECK.find(audited(CHECK, audit_set("tweets", TWEETS[:30]))))


def test_of_a_large_set_so_many_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multitune.audit.language.MOST_ROWS", 60)
    held = {"train": TWEETS[:300], "test": [said(f"{GERMAN} Vorgang {n}.") for n in range(15)]}
    (found,) = findings(CHECK, audit_set("tweets", held), main=0.5)
    assert 0 < found.rows < 15 and found.of <= 60
