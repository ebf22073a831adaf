"""A conversation keeps its route: which one its earlier turns took, by their hash or by the name a client gives."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

MOST = 10_000  # conversations, the latest; in memory alone
SWITCH = 0.5  # how much likelier another adapter must be than that of the conversation, as a probability


class EarlierRoute(NamedTuple):
    """Where the earlier turns of a conversation went."""

    task: str
    adapter: str


@dataclass(slots=True)
class Conversations:
    """Routes by conversation. Two conversations that begin with the same turns have the same route by right."""

    _routes: OrderedDict[bytes, EarlierRoute] = field(default_factory=OrderedDict[bytes, EarlierRoute])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def earlier(self, messages: Sequence[Mapping[str, str]], name: str = "") -> EarlierRoute | None:
        """The route of what came before the last turn; None for the first.

        Args:
            messages: of the conversation, the last one the user's.
            name: that the client gives it, made of what nobody else can give.
        """
        with self._lock:
            return self._routes.get(_key(messages[:-2], name)) if name or len(messages) > 2 else None

    def remember(self, messages: Sequence[Mapping[str, str]], name: str, route: EarlierRoute) -> None:
        """Keep the route of a conversation up to here."""
        with self._lock:
            self._routes[_key(messages, name)] = route
            self._routes.move_to_end(_key(messages, name))
            while len(self._routes) > MOST:
                self._routes.popitem(last=False)


def _key(messages: Sequence[Mapping[str, str]], name: str) -> bytes:
    """The hash of a conversation: of its name if it has one, else of its turns."""
    digest = hashlib.sha256(f"name {name}".encode() if name else b"turns")
    for message in () if name else messages:
        for part in (message["role"], message["content"]):
            digest.update(len(part).to_bytes(8, "big") + part.encode("utf-8", "surrogatepass"))
    return digest.digest()
