"""Signals that ask a training to stop: it is told of each, and decides when it leaves."""

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_on_signal(stop: Callable[[], None]) -> Generator[None]:
    """Call `stop` on Ctrl-C, on SIGTERM and when the terminal closes.

    Under nohup, which ignores it, a terminal that closes changes nothing.
    """

    def handle(number: int, frame: Any) -> None:
        stop()

    numbers = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) != signal.SIG_IGN:
        numbers.append(hang_up)
    try:
        before = {number: signal.signal(number, handle) for number in numbers}
    except ValueError:  # not in the main thread: whoever runs us handles signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
