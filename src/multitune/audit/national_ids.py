"""National identity, social security and tax numbers, by format, by checksum, and by the word that announces them."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module

from multitune.audit.number_cues import cue_before

# Formats that say by themselves what they are: their checksum, or their form where they have none, decides.
_FORMATS: tuple[tuple[str, str], ...] = (
    (r"\d{3}-\d{2}-\d{4}", "us.ssn us.itin"),
    (r"\d{3}\.\d{3}\.\d{3}-\d{2}", "br.cpf"),
    (r"756\.?\d{4}\.?\d{4}\.?\d{2}", "ch.ssn"),
    (r"[1-9]\d{5}(?:19|20)\d{2}[01]\d[0-3]\d{4}[\dXx]", "cn.ric"),
    (r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?\d(?:\d|[AB]) ?\d{3} ?\d{3} ?\d{2}", "fr.nir"),
    (r"\d{2}[01]\d[0-3]\d-[1-8]\d{6}", "kr.rrn"),
    (r"\d{2}[0-35-8]\d[0-3]\d/\d{3,4}", "cz.rc"),
    (r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", "be.nn"),
)
# Digits alone would pass one checksum in ten or so: these count only where a word announces them.
_COUNTRIES = """
    us.ssn us.itin ca.sin gb.nhs nl.bsn pl.pesel br.cpf ro.cnp bg.egn se.personnummer no.fodselsnummer dk.cpr
    de.idnr ch.ssn fr.nir cz.rc tr.tckimlik in_.aadhaar au.tfn kr.rrn be.nn za.idnr pt.nif hr.oib ee.ik
    lt.asmens il.idnr cn.ric
"""
_ANNOUNCED = tuple(_COUNTRIES.split())
_LETTERED: tuple[tuple[str, str], ...] = (
    (r"[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z]", "it.codicefiscale"),
    (r"[A-Z]{4}\d{2}[01]\d[0-3]\d[HM][A-Z]{5}[A-Z0-9]\d", "mx.curp"),
    (r"\d{8}-?[A-HJ-NP-TV-Z]", "es.dni"),
    (r"[XYZ]-?\d{7}-?[A-Z]", "es.nie"),
    (r"[0-3]\d[01]\d{3}[-+A]\d{3}[0-9A-FHJ-NPR-Y]", "fi.hetu"),
)
_LETTERED_ID = re.compile(r"\b(?:" + "|".join(f"({pattern})" for pattern, _ in _LETTERED) + r")(?![\w-])")
_UNCHECKED = re.compile(  # the UK's and India's, which have no checksum: written in pairs, or announced
    r"\b(?:(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?:( )\d{2} \d{2} \d{2} [A-D]|\d{6}[A-D])"
    r"|[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z])\b"
)
_NUMERIC = re.compile("(?:" + "|".join(f"({pattern})" for pattern, _ in _FORMATS) + r")(?![\w-]|[.,/]\d)")
_PLAIN = re.compile(r"\d(?:[ ./-]{0,2}\d){8,14}(?![\w-])")


def numeric(text: str, start: int, end: int, announced: Callable[[], bool]) -> tuple[int, str] | None:
    """Where the number of digits that begins at a place ends, and its value; None where there is none.

    Args:
        text: in which it may stand.
        start: of its first digit.
        end: of the run of digits that it begins.
        announced: asks whether a word before it says that it is one.
    """
    if found := _NUMERIC.match(text, start):
        checks = _FORMATS[(found.lastindex or 1) - 1][1].split()
        if any(_validator(check)(found[0]) for check in checks):
            return found.end(), _plain(found[0])
    if (found := _PLAIN.match(text, start, end)) and announced():
        value = re.sub(r"[ ]", "", found[0])
        if any(_validator(check)(value) for check in _ANNOUNCED):
            return found.end(), _plain(value)
    return None


def lettered(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and value of those that hold letters."""
    for match in _LETTERED_ID.finditer(text.upper() if text.isascii() else text):
        check = _LETTERED[(match.lastindex or 1) - 1][1]
        if _validator(check)(match[0]):
            yield match.start(), match.end(), _plain(match[0])
    for match in _UNCHECKED.finditer(text):
        if match[1] or cue_before(text, match.start()) == "id":
            yield match.start(), match.end(), _plain(match[0])


@cache
def _validator(name: str) -> Callable[[str], bool]:
    return import_module(f"stdnum.{name}").is_valid


def _plain(value: str) -> str:
    return re.sub(r"[ ./-]", "", value).upper()
