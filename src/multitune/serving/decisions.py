"""Which adapter answers a request, and why."""

from multitune.core.results.base import Record

NAMED = "named"  # the reason of a route that the request asked for
ROUTED = "routed"  # of one that the router chose
NO_ROUTER = "router-unavailable"  # of one to the base because no route could be found
CONVERSATION = "conversation"  # of one that the earlier turns of a conversation took


class Route(Record):
    """Which adapter answers a request, and why."""

    task: str | None  # the one it ships for, or the likeliest; None where the request named an adapter
    adapter: str  # or `base`
    probability: float | None = None  # where the router chose
    reason: (
        str  # named, routed, conversation, unsure (shared), out-of-distribution (base) or router-unavailable (base)
    )


class LabelProbability(Record):
    """How likely a label is among those that were asked for; an upper bound where `exact` is false."""

    label: str
    probability: float
    exact: bool
