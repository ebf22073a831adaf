"""The address that a server listens on."""

import ipaddress
import socket

from multitune.core.errors import InputError

LOCAL = ("localhost", "127.0.0.1")  # names of this machine for itself


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any that is free.

    Raises:
        InputError: it cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--host {host} --port {port}: cannot be listened on ({error}). Choose another port, or 0 for any that is "
            "free"
        ) from error


def address(host: str, listener: socket.socket) -> str:
    """The address of a socket as a browser wants it."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def is_local(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return host == "localhost" or (ipaddress.ip_address(host).is_loopback and ":" not in host)
    except ValueError:
        return False
