"""What a word before a number says that the number is: `card 4…`, `call me at 4…`, `order 4…`."""

import re
from typing import Literal

Cue = Literal["card", "id", "phone", "ip", "version", "other"]

BEFORE = 40  # characters in which the word may stand
_WORD = re.compile(r"[^\W\d_]+")
_WORDS: dict[Cue, str] = {
    "card": """
        card, cards, visa, mastercard, master card, maestro, amex, american express, discover, cc, credit, debit,
        karte, kreditkarte, kartennummer, carte, tarjeta, cartão, carta, kort""",
    "id": """
        ssn, social security, itin, social insurance, sin, national id, identity card, identity number, identity no,
        id number, id card, id no, identification number, personal code, personal number, personal id, tax id,
        taxpayer id, tin, nhs, nino, national insurance, bsn, burgerservicenummer, pesel, cpf, cnp, egn, curp,
        aadhaar, aadhar, pan card, pan number, personnummer, fødselsnummer, cpr, henkilötunnus, hetu, steuer id,
        steueridentifikationsnummer, identifikationsnummer, idnr, ahv, avs, codice fiscale, dni, nie, nif, nir,
        sécurité sociale, seguridad social, rodné číslo, kimlik, tckn, medicare, tfn, tax file, rrn,
        resident registration, 身份证, 身份证号, 身份证号码, 주민등록번호,
        rijksregisternummer, jmbg, oib, isikukood, asmens kodas""",
    "phone": """
        phone, phones, telephone, tel, tele, mobile, cell, cellphone, fax, facsimile, hotline, helpline, whatsapp, sms,
        dial, landline, call, calls, called, calling, ring, reach me, reach us, contact me, contact us, text me,
        text us, message to, messages to, telefon, telefonnummer, téléphone, portable, teléfono, móvil, celular,
        telefone, telemóvel, telefono, handy, handynummer, rufnummer, cellulare, puh, puhelin, tlf, telefoon,
        numéro""",
    "ip": "ip, ipv4, ipv6, address, host, server, gateway, dns, subnet, client",
    "version": "version, versions, ver, v, release, build, firmware, section, chapter",
    "other": """
        order, orders, tracking, invoice, ticket, ref, reference, serial, isbn, issn, ean, upc, gtin, sku, imei, part,
        model, docket, transaction, receipt, shipment, parcel, cusip, isin, file, accession, doi, arxiv, timestamp,
        epoch, quantity, population, barcode, bestellnummer, rechnung, commande, pedido""",
}
_CUES: dict[str, Cue] = {word.strip(): cue for cue, words in _WORDS.items() for word in words.split(",")}
_ATTACHED = re.compile(r"(?:desk|office|home|work|direct)[ :.-]{1,3}$", re.IGNORECASE)  # say it right before a number


def cue_before(text: str, start: int) -> Cue | None:
    """What the nearest telling word before a place says that a number there is."""
    first = max(0, start - BEFORE)
    while first < start and first and text[first - 1].isalpha():  # no word is cut in two
        first += 1
    before = text[first:start]
    words = _WORD.findall(before.casefold())
    for place in range(len(words) - 1, -1, -1):
        cue = (place and _CUES.get(f"{words[place - 1]} {words[place]}")) or _CUES.get(words[place])
        if cue:
            return cue
    return "phone" if _ATTACHED.search(before) else None
