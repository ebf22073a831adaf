"""Personal data and secrets in one text: where they stand, by pattern, by what stands around them, and by checksum."""

import base64
import binascii
import ipaddress
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from multitune.audit import national_ids, phones
from multitune.audit.number_cues import cue_before

Kind = Literal["email", "phone", "ip", "iban", "card", "national_id", "document", "secret"]
KINDS: tuple[Kind, ...] = ("secret", "card", "iban", "national_id", "document", "email", "phone", "ip")

_AFTER = 10  # characters after a number in which a word may say what it is
_WITH_LETTERS = re.compile(r"\d{5}|\d\d[A-Za-z -]\d\d|\d{4}[A-Za-z]")  # in every number that letters are part of
_EMAIL = re.compile(
    r"(?<![\w.+-])[\w+-](?:[\w.+'-]{0,62}[\w+-])?@"
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,6}(?:[^\W\d_]{2,24}|xn--[a-z0-9-]{2,40})(?![\w-])"
)
_RESERVED = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|org|net|edu))?|test|invalid|localhost)$")  # RFC 2606 and 6761
_IBAN = re.compile(r"\b[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])")
_NUMBER = re.compile(r"\d(?:[ .()/-]{0,3}\d){5,18}")
_OPENING = re.compile(r"(?:\+ ?|\(\+?)\Z")  # what may stand before its first digit
_PART_OF_MORE = re.compile(r"(?:[\w$€£¥/-]|\d[.,])\Z")  # such as an amount, a decimal or an address of the web
_SINGLE_DIGITS = re.compile(r"\d \d \d(?!\d)")  # as in a row of a table
_GROUP = re.compile(r" +(?=[\d(])")  # where the next number of a run of digits may begin
_CARD = re.compile(
    r"(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?|\d{4}([ -])\d{6}\2\d{4,5}|\d{12,19})(?![\w-]|[.,]\d)"
)
# Prefixes and lengths of Visa, Mastercard, American Express, Discover, Diners Club, JCB, UnionPay, RuPay and Maestro.
_ISSUED = re.compile(
    r"4\d{15}(?:\d{3})?|(?:5[1-5]\d\d|2(?:2[2-9]|[3-6]\d|7[01])\d|2720)\d{12}|3[47]\d{13}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12,15}|3(?:0[0-5]|[689]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}|(?:1800|2131)\d{11}"
    r"|62\d{14,17}|(?:60|8[12])\d{14}|(?:5[0678]|6[0-9])\d{14,17}"
)
_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])(?:[23][0-9a-fA-F]{3}:(?:[0-9a-fA-F]{0,4}:){1,6}[0-9a-fA-F]{0,4}|(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4})(?![\w:])"
)
_SEPARATORS = {ord(char): "-" for char in "\u2010\u2011\u2012\u2013\u2212"} | dict.fromkeys(
    map(ord, "\u00a0\u202f\u2009"), " "
)
_SMALL = 32  # four numbers below it are rather a version or a section
_NAMES_DOCUMENT = re.compile(r"[Pp]assport|PASSPORT|[Ll]icen[cs]e|LICEN[CS]E")
_DOCUMENT = re.compile(
    r"\b(?:passport|driv(?:er'?s?|ing)[ -]licen[cs]e)(?: (?:no|number|nr|id|#))?\.?(?: is|:| #)?:? "
    r"#?([A-Z]{0,3}[0-9][0-9A-Z-]{5,15})(?![\w-])",
    re.IGNORECASE,
)
_TOKENS = (
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",  # Amazon Web Services
    r"gh[opsur]_[A-Za-z0-9]{36,251}|github_pat_\w{60,100}",
    r"glpat-[\w-]{20,60}",
    r"xox[abeoprs]-[\w-]{10,200}|xapp-\d-[\w-]{10,200}",  # Slack
    r"https://hooks\.slack\.com/services/T\w+/B\w+/\w+",
    r"AIza[\w-]{35}|GOCSPX-[\w-]{28}|ya29\.[\w-]{20,400}",  # Google
    r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,250}|whsec_[A-Za-z0-9]{24,64}",  # Stripe
    r"sk-(?:ant-|proj-|svcacct-|or-v1-)?[A-Za-z0-9][\w-]{18,200}[A-Za-z0-9]",  # OpenAI, Anthropic, OpenRouter
    r"hf_[A-Za-z]{34}|npm_[A-Za-z0-9]{36}|pypi-[\w-]{60,250}|dckr_pat_[\w-]{27}",
    r"SG\.[\w-]{16,32}\.[\w-]{16,64}",  # SendGrid
    r"\d{8,10}:AA[\w-]{33}",  # Telegram
    r"dop_v1_[0-9a-f]{64}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|AGE-SECRET-KEY-1[0-9A-Z]{58}",
    r"eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{8,2000}",  # JSON web tokens
)
_PRIVATE = r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----(?:[\s\S]{0,8000}?-----END [A-Z ]*-----)?"
_SECRET = re.compile(rf"(?<![A-Za-z0-9_-])(?:{'|'.join(_TOKENS)})(?![A-Za-z0-9_])|{_PRIVATE}")
_BEGINNINGS = (
    *(
        "AKIA",
        "ASIA",
        "ABIA",
        "ACCA",
        "ghp_",
        "gho_",
        "ghs_",
        "ghu_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "xox",
        "xapp-",
        "hooks.slack",
        "AIza",
        "GOCSPX-",
    ),
    *("ya29.", "k_live_", "k_test_", "whsec_", "sk-", "hf_", "npm_", "pypi-", "dckr_pat_", "SG.", ":AA", "dop_v1_"),
    *("shpat_", "shpca_", "shppa_", "shpss_", "AGE-SECRET", "eyJ", "-----BEGIN"),
)
_ADDRESS = re.compile(r"://[^\s:/@]{1,80}:([^\s@/]{3,200})@")
_NAMED = re.compile(
    r"(?:password|passwd|passphrase|pwd|secret|token|api[_ -]?key|access[_ -]?key|private[_ -]?key)\w{0,20}"
    r"[\"']?(?: ?[:=]{1,2}>? ?| is:? )[\"']?([^\s\"'<>{}$*;,]{8,200})",
    re.IGNORECASE,
)
_MADE_UP = re.compile(
    r"example|sample|your|dummy|placeholder|changeme|redacted|xxxx|\.\.\.|1234567890abc", re.IGNORECASE
)
_BITS = 2.5  # per character: above that of words and of repeated characters, below that of random ones


@dataclass(frozen=True, slots=True)
class Match:
    """One thing found in a text."""

    start: int
    end: int
    kind: Kind
    value: str  # in the one form that all its spellings have


def find(text: str, known: Callable[[str], Kind | None] = lambda digits: None) -> list[Match]:
    """All personal data and secrets of a text, in order and without overlap.

    Args:
        text: any text.
        known: the kind of a number, by its digits, that was found elsewhere; it is then found whatever stands around.
    """
    found = [*_secrets(text), *_emails(text)]
    if _WITH_LETTERS.search(text):
        found += [*_ibans(text), *_documents(text), *_lettered_ids(text)]
    found += [*_addresses(text), *_numbers(text, known)]
    kept: list[Match] = []
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return kept


def _secrets(text: str) -> Iterator[Match]:
    if any(beginning in text for beginning in _BEGINNINGS):
        for match in _SECRET.finditer(text):
            value = match[0]
            if not _MADE_UP.search(value) and (not value.startswith("eyJ") or _is_json_web_token(value)):
                yield Match(match.start(), match.end(), "secret", value)
    if "://" in text:
        for match in _ADDRESS.finditer(text):
            if not _MADE_UP.search(match[1]) and not match[1].startswith(("$", "{", "<", "*")):
                yield Match(match.start(1), match.end(1), "secret", match[1])
    lower = text.lower()
    if any(name in lower for name in ("passw", "passphrase", "pwd", "secret", "token", "key")):
        for match in _NAMED.finditer(text):
            value = match[1].rstrip(".,)!?")
            if _looks_random(value) and not _MADE_UP.search(value):
                yield Match(match.start(1), match.start(1) + len(value), "secret", value)


def _looks_random(value: str) -> bool:
    """Whether letters and digits stand in a word, and in no plain order."""
    if len(value) < 8 or not re.search(r"\d", value) or not re.search(r"[A-Za-z]", value) or "://" in value:
        return False
    counts = Counter(value)
    bits = -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())
    return bits >= _BITS


def _is_json_web_token(value: str) -> bool:
    header = value.partition(".")[0]
    try:
        return isinstance(json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))), dict)
    except (ValueError, binascii.Error):
        return False


def _emails(text: str) -> Iterator[Match]:
    if "@" in text:
        for match in _EMAIL.finditer(text):
            value = match[0].casefold()
            if ".." not in value and not _RESERVED.search(value.partition("@")[2]):
                yield Match(match.start(), match.end(), "email", value)


def _ibans(text: str) -> Iterator[Match]:
    from stdnum import iban

    for match in _IBAN.finditer(text):
        end = match.end()
        while end - match.start() >= 15:  # what follows may look like the next group
            value = re.sub(r"[ -]", "", text[match.start() : end]).upper()
            if iban.is_valid(value, check_country=False):
                yield Match(match.start(), end, "iban", value)
                break
            space = text.rfind(" ", match.start(), end)
            if space < 0:
                break
            end = space


def _documents(text: str) -> Iterator[Match]:
    if not _NAMES_DOCUMENT.search(text):
        return
    for match in _DOCUMENT.finditer(text):
        if sum(char.isdigit() for char in match[1]) >= 5:
            yield Match(match.start(1), match.end(1), "document", match[1].upper())


def _lettered_ids(text: str) -> Iterator[Match]:
    for start, end, value in national_ids.lettered(text):
        yield Match(start, end, "national_id", value)


def _addresses(text: str) -> Iterator[Match]:
    if "::" in text or text.count(":") >= 7:
        for match in _IPV6.finditer(text):
            if value := _public_address(match[0]):
                yield Match(match.start(), match.end(), "ip", value)


def _public_address(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return str(address) if address.is_global and not address.is_multicast else None


def _numbers(text: str, known: Callable[[str], Kind | None]) -> Iterator[Match]:
    """Numbers of many digits, each by the first rule that it meets."""
    text = text if text.isascii() else text.translate(_SEPARATORS)
    position = 0
    while run := _NUMBER.search(text, position):
        start = run.start()
        if opening := _OPENING.search(text[max(0, start - 2) : start]):
            start -= len(opening[0])
        match = None
        if _PART_OF_MORE.search(text[max(0, start - 2) : start]):
            start = _next_group(text, start, run.end())
        while match is None and start < run.end():
            match = None if _SINGLE_DIGITS.match(text, start) else _number(text, start, run.end(), known)
            start = _next_group(text, start, run.end())
        if match:
            yield match
        position = match.end if match else run.end()


def _next_group(text: str, start: int, end: int) -> int:
    following = _GROUP.search(text, start + 1, end)
    return following.end() if following else end


def _number(text: str, start: int, end: int, known: Callable[[str], Kind | None]) -> Match | None:
    """What the number at a place is, if it is any of the kinds; `end` is where its run of digits ends."""
    if (card := _CARD.match(text, start)) and _is_card(_digits(card[0]), text, start):
        return Match(start, card.end(), "card", _digits(card[0]))
    if address := _IPV4.match(text, start):
        value = _public_address(address[0])
        return Match(start, address.end(), "ip", value) if value and _is_address(value, text, start) else None
    if found := national_ids.numeric(text, start, end, lambda: cue_before(text, start) == "id"):
        return Match(start, found[0], "national_id", found[1])
    after = text[end : end + _AFTER]
    if stop := phones.match(text, start, lambda: cue_before(text, start) == "phone" or phones.announced_after(after)):
        return Match(start, stop, "phone", phones.plain(text[start:stop])) if not _is_other(text, start) else None
    digits = _digits(text[start:end])
    return Match(start, end, kind, digits) if (kind := known(digits)) else None


def _is_card(digits: str, text: str, start: int) -> bool:
    from stdnum import luhn

    if not luhn.is_valid(digits) or len(set(digits)) < 3:
        return False
    cue = cue_before(text, start)
    return cue == "card" or (cue not in ("other", "id", "phone") and _ISSUED.fullmatch(digits) is not None)


def _is_address(value: str, text: str, start: int) -> bool:
    cue = cue_before(text, start)
    return cue == "ip" or (cue != "version" and max(map(int, value.split("."))) >= _SMALL)


def _is_other(text: str, start: int) -> bool:
    return cue_before(text, start) == "other"


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)
