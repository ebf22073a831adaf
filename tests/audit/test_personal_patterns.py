"""What counts as personal data: by form, by checksum and by what stands around; and what only looks like it."""

import pytest

from multitune.audit.personal_patterns import find


def kinds(text: str) -> list[tuple[str, str]]:
    return [(match.kind, text[match.start : match.end]) for match in find(text)]


FOUND = {
    "Write to Jane.Doe+x@mail.co.uk, please": ("email", "Jane.Doe+x@mail.co.uk"),
    "à écrire: rené@société.fr": ("email", "rené@société.fr"),
    "My card 4539 1488 0343 6467 is lost": ("card", "4539 1488 0343 6467"),
    "paid with 378282246310005": ("card", "378282246310005"),
    "card 630427373398 was stolen": ("card", "630427373398"),
    "IBAN DE89 3704 0044 0532 0130 00 please": ("iban", "DE89 3704 0044 0532 0130 00"),
    "my iban is gb82west12345698765432": ("iban", "gb82west12345698765432"),
    "SSN 536-90-4399": ("national_id", "536-90-4399"),
    "CPF 390.533.447-05": ("national_id", "390.533.447-05"),
    "codice fiscale RCCMNL83S18D969H": ("national_id", "RCCMNL83S18D969H"),
    "DNI 54362315K": ("national_id", "54362315K"),
    "my PESEL: 44051401359": ("national_id", "44051401359"),
    "henkilötunnus 131052-308T": ("national_id", "131052-308T"),
    "national insurance QQ123456C, or rather AB123456C": ("national_id", "AB123456C"),
    "passport number is C01X00T47": ("document", "C01X00T47"),
    "blocked 86.121.97.248 again": ("ip", "86.121.97.248"),
    "from 2a02:8388:4ac0:1::17": ("ip", "2a02:8388:4ac0:1::17"),
    "call +44 (0)20 7946 0018 now": ("phone", "+44 (0)20 7946 0018"),
    "(212) 736-5000": ("phone", "(212) 736-5000"),
    "01 42 68 53 00 is the number": ("phone", "01 42 68 53 00"),
    "Phone: 467 3395": ("phone", "467 3395"),
    "Tel : + 86 - 10 - 6250 1658": ("phone", "+ 86 - 10 - 6250 1658"),
    "1-(800) 439–2178": ("phone", "1-(800) 439–2178"),
    "key AKIAQ3EGRZZ7T5KBNM2P": ("secret", "AKIAQ3EGRZZ7T5KBNM2P"),
    "ghp_" + "a1B2" * 9: ("secret", "ghp_" + "a1B2" * 9),
    "postgres://app:s3cr3tPw9@db/x": ("secret", "s3cr3tPw9"),
    "password: hunter2Xq9!": ("secret", "hunter2Xq9"),
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3In0.dBjftJeZ4CVPmB92K27uhbUJU1": (
        "secret",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3In0.dBjftJeZ4CVPmB92K27uhbUJU1",
    ),
}


@pytest.mark.parametrize("text", FOUND)
def test_it_is_found(text: str) -> None:
    assert kinds(text) == [FOUND[text]]


def test_a_private_key_is_one_secret() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nq83v\n-----END RSA PRIVATE KEY-----"
    assert kinds(f"here: {key}!") == [("secret", key)]


@pytest.mark.parametrize(
    "text",
    [
        "My card 4539 1488 0343 6468 is lost",  # no card by its checksum
        "order 4539148803436467 has shipped",  # one, but an order
        "IBAN DE89 3704 0044 0532 0130 01",
        "SSN 666-90-4399",  # never given out
        "the number 44051401359 of 2019",  # valid, and not announced
        "jane@example.com and root@localhost",  # kept for examples
        "at 212-555-0142 in the film",
        "Version 1.2.3.4 of 10.0.0.12",
        "192.168.0.1 and 127.0.0.1",
        "ISBN 978-3-16-148410-0",
        "2015-12-22 04:34:22",
        "published 11/12/2014 12/12/2014",
        "2019 2018 2017 2016",
        "$ 100.00 100.00 100.00 on the phone",
        "Revenue of 1,234,567,890 and 0.2309090909090909",
        "974000/1000 = <<974000/1000=974>>974",
        "http://news.com/dec-gold-settles-at-132370oz-down-190-or-01-2016-09-13",
        "during the period 37754280 units",
        "CI:0.17-0.44 by phone",
        "password: required, token: optional",
        "The password is required.",
        "AKIAIOSFODNN7EXAMPLE",  # of the manual
        "@user_name said so",
    ],
)
def test_it_only_looks_like_it(text: str) -> None:
    assert kinds(text) == []


def test_each_of_several_is_found_in_order() -> None:
    text = "Office: +41 (0)69 979 80 58\nFax: 9498777106\n34796\n(37) 788-063-Office, a@b.de, 4539148803436467"
    assert [kind for kind, _ in kinds(text)] == ["phone", "phone", "phone", "email", "card"]


def test_spellings_of_one_number_have_one_value() -> None:
    values = {find(text)[0].value for text in ("4539 1488 0343 6467", "4539-1488-0343-6467", "4539148803436467")}
    assert values == {"4539148803436467"}


def test_a_number_that_is_known_needs_no_announcement() -> None:
    text = "467 3395 it was"
    assert find(text) == []
    assert [match.kind for match in find(text, {"4673395": "phone"}.get)] == ["phone"]
