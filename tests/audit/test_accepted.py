"""Accepted findings: each with its reason, none without, and the ones that are gone are named."""

from pathlib import Path

import pytest

from multitune.audit.accepted import accept_entry, read_accepted, stale_keys, with_accepted
from multitune.core.errors import ConfigError
from multitune.core.results.audit import Finding


def finding(check: str = "quality.empty", *sets: str, subject: str = "") -> Finding:
    named = {"check": check, "sets": sets or ("tweets",), "subject": subject, "severity": "high"}
    return Finding.model_validate({**named, "message": "m", "remedy": "r", "rows": 1, "of": 2})


def written(folder: Path, text: str) -> Path:
    path = folder / "audit-accepted.yaml"
    path.write_text(text, "utf-8")
    return path


def test_an_accepted_finding_carries_its_reason(tmp_path: Path) -> None:
    accepted = read_accepted(written(tmp_path, "- finding: quality.empty:tweets\n  reason: ' blank on purpose '\n"))
    first, second = with_accepted([finding(), finding("leaks.exact", "a", "b")], accepted)
    assert (first.accepted, second.accepted) == ("blank on purpose", None)


@pytest.mark.parametrize("subject", ["", "label: 'x' # not a comment", "- {a: b}", "line\nbreak"])
def test_the_entry_that_is_shown_accepts_its_finding(tmp_path: Path, subject: str) -> None:
    one = finding(subject=subject)
    accepted = read_accepted(written(tmp_path, accept_entry(one).replace("…", "looked at it")))
    assert accepted == {one.key: "looked at it"}


@pytest.mark.parametrize("text", ["", "# none yet\n", "[]\n"])
def test_an_empty_file_accepts_nothing(tmp_path: Path, text: str) -> None:
    assert read_accepted(written(tmp_path, text)) == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("finding: a\nreason: b\n", r"holds no list\. Write a line"),
        ("- a\n", r"\[0\] is 'a'\. Give it as"),
        ("- finding: a\n", r"\[0\]\.reason is missing\. Write why it is no fault"),
        ("- finding: a\n  reason: ' '\n", r"\[0\]\.reason is ' '\. Write why"),
        ("- reason: b\n", r"\[0\]\.finding is missing\. Write the key that `multitune audit` prints"),
        ("- finding: 7\n  reason: b\n", r"\[0\]\.finding is 7\."),
        ("- finding: a\n  reason: b\n  by: me\n", r"\[0\]\.by is not a field\. All: finding, reason"),
        ("- {finding: a, reason: b}\n- {finding: a, reason: c}\n", r"\[1\]\.finding is 'a', which stands above"),
        ("- finding: a: b\n", "line 1"),
    ],
)
def test_a_fault_is_one_message_with_its_place(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{tmp_path / 'audit-accepted.yaml'}.*{fault}"):
        read_accepted(written(tmp_path, text))


def test_all_faults_of_a_file_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_accepted(written(tmp_path, "- finding: a\n- reason: b\n"))
    assert len(str(caught.value).splitlines()) == 2


def test_keys_that_no_longer_occur_are_stale_unless_their_check_was_not_made() -> None:
    accepted = dict.fromkeys(["quality.empty:tweets", "quality.empty:gone", "leaks.exact:a+b", "no.check:x"], "seen")
    assert stale_keys([finding()], accepted, {"quality.empty"}) == ("quality.empty:gone",)
