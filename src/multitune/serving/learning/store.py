"""What a server keeps of its use: requests, feedback and versions in one SQLite file, which survives a kill."""

import secrets
import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multitune.core.bases import BASE
from multitune.core.errors import InputError, StorageError
from multitune.core.files import storage
from multitune.core.untrusted import open_regular
from multitune.routing.feedback import Claims

KEPT_REQUESTS, KEPT_FEEDBACK = 10_000, 20_000  # the latest
PRUNE_EVERY = 256  # requests
WINDOW = 3600.0  # seconds in which a client's feedback is counted
HELD_BACK = 4  # every fourth row of feedback is not learned from, but shows what learning is worth
BUSY = 5.0  # seconds to wait for another process that reads the file
SCHEMA = """
create table if not exists facts (name text primary key, value text not null);
create table if not exists requests (
  number integer primary key, id text not null unique, at real not null, task text not null, adapter text not null,
  reason text not null, features blob not null, text text);
create table if not exists feedback (
  number integer primary key autoincrement, id text not null unique, at real not null, client text not null,
  task text, was text not null, features blob not null);
create table if not exists versions (
  number integer primary key, at real not null, routing text not null, since integer not null, until integer not null,
  why text not null);
"""


class UnknownRequestError(InputError):
    """Feedback names a request that was not issued, was not routed, or is too long ago."""


class FeedbackTwiceError(InputError):
    """A request has feedback already."""


class FeedbackLimitError(InputError):
    """A client has given as much feedback as it may for now."""


@dataclass(frozen=True, slots=True)
class KeptRequest:
    """A request that the router saw."""

    id: str
    task: str  # the likeliest
    adapter: str  # where it went
    reason: str
    features: np.ndarray  # float32 (width,)
    text: str | None = None  # only where the operator wants texts to be kept


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """A router that went live: that of a routing version, moved by the feedback from `since` to `until`."""

    number: int
    at: float
    routing: str
    since: int
    until: int
    why: str


class UseStore:
    """The file, for one thread."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it.

        Raises:
            StorageError: it cannot be read or written.
        """
        self._path = path
        with storage(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                open_regular(path).close()
        with self._storing():
            self._file = sqlite3.connect(path, timeout=BUSY, isolation_level=None)
            if (found := self._file.execute("pragma quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(found)
            # A commit outlives the process at once, and a failure of power but for the last moments.
            self._file.execute("pragma journal_mode = wal")
            self._file.execute("pragma synchronous = normal")
            self._file.executescript(SCHEMA)
            self._file.execute("insert or ignore into facts values ('salt', ?)", (secrets.token_hex(16),))
        self._since_pruned = 0

    @property
    def salt(self) -> str:
        """What hashes of clients begin with, so that they mean nothing elsewhere."""
        return str(self._one("select value from facts where name = 'salt'")[0])

    def keep(self, request: KeptRequest) -> None:
        """Add a request; the oldest ones go.

        Raises:
            StorageError: the disk is full.
        """
        values = (request.id, time.time(), request.task, request.adapter, request.reason)
        with self._storing():
            self._file.execute(
                "insert or ignore into requests (id, at, task, adapter, reason, features, text) "
                "values (?, ?, ?, ?, ?, ?, ?)",
                (*values, _packed(request.features), request.text),
            )
            self._since_pruned += 1
            if self._since_pruned >= PRUNE_EVERY:
                self._since_pruned = 0
                for table, most in (("requests", KEPT_REQUESTS), ("feedback", KEPT_FEEDBACK)):
                    oldest = f"delete from {table} where number <= (select max(number) from {table}) - ?"  # nosec B608
                    self._file.execute(oldest, (most,))

    def add_feedback(self, request: str, client: str, task: str | None, most: int) -> int:
        """Keep what a client says of a request; the number of all feedback so far.

        Args:
            request: its id.
            client: the hash of who says so.
            task: that it belongs to, `base` for none; None: where it went was wrong.
            most: feedback that a client may give in an hour.

        Raises:
            UnknownRequestError, FeedbackTwiceError, FeedbackLimitError: it is not taken.
            StorageError: the disk is full.
        """
        with self._storing():
            row = self._file.execute("select task, features from requests where id = ?", (request,)).fetchone()
            if row is None:
                raise UnknownRequestError(
                    f"request_id {request!r}: no request of this id was routed lately. Give the `id` of an answer to "
                    "model auto"
                )
            now = time.time()  # a clock that was put back leaves rows ahead of it, which count for nothing
            given = self._one(
                "select count(*) from feedback where client = ? and at between ? and ?", client, now - WINDOW, now
            )
            if given[0] >= most:
                raise FeedbackLimitError(f"a client may give feedback {most} times in an hour")
            try:
                self._file.execute(
                    "insert into feedback (id, at, client, task, was, features) values (?,?,?,?,?,?)",
                    (request, now, client, task, row[0], row[1]),
                )
            except sqlite3.IntegrityError as error:
                raise FeedbackTwiceError(f"request_id {request!r}: has feedback already") from error
        return self.last_feedback

    def request(self, request: str) -> tuple[str, str]:
        """The likeliest task of a request, and the reason of its route.

        Raises:
            UnknownRequestError: no such request.
        """
        row = self._file.execute("select task, reason from requests where id = ?", (request,)).fetchone()
        if row is None:
            raise UnknownRequestError(f"request_id {request!r}: no request of this id was routed lately")
        return str(row[0]), str(row[1])

    @property
    def last_feedback(self) -> int:
        """The number of the latest feedback; 0 before the first."""
        return int(self._one("select coalesce(max(number), 0) from feedback")[0])

    def claims(self, tasks: Sequence[str], since: int, until: int, held_back: bool) -> Claims:
        """The feedback that names a task, in its order.

        Args:
            tasks: those that may be named, beside the base; of others there is none any more.
            since: the number that it comes after.
            until: the last number.
            held_back: the part that shows what learning is worth, or the part to learn from.
        """
        names = {*tasks, BASE}
        rows = self._file.execute(
            "select task, features, id from feedback where number > ? and number <= ? and task is not null "
            "order by number",
            (since, until),
        ).fetchall()
        mine = [row for row in rows if row[0] in names and (int(row[2][:8], 16) % HELD_BACK == 0) == held_back]
        features = np.array([_unpacked(row[1]) for row in mine], dtype=np.float32)
        return Claims(features, [row[0] for row in mine])

    def rejected(self, most: int) -> list[KeptRequest]:
        """The latest requests that fitted no route, latest last."""
        rows = self._file.execute(
            "select id, task, adapter, reason, features, text from requests where reason = 'out-of-distribution' "
            "order by number desc limit ?",
            (most,),
        ).fetchall()
        return [
            KeptRequest(request, task, adapter, reason, _unpacked(blob), text)
            for request, task, adapter, reason, blob, text in reversed(rows)
        ]

    def counts(self) -> tuple[int, int]:
        """Requests that are kept, and feedback."""
        found = self._one("select (select count(*) from requests), (select count(*) from feedback)")
        return int(found[0]), int(found[1])

    def versions(self) -> list[KeptVersion]:
        """All that went live, oldest first."""
        rows = self._file.execute("select number, at, routing, since, until, why from versions order by number")
        return [KeptVersion(*row) for row in rows.fetchall()]

    def add_version(self, routing: str, since: int, until: int, why: str) -> int:
        """Keep a version that goes live; its number."""
        with self._storing():
            done = self._file.execute(
                "insert into versions (at, routing, since, until, why) values (?,?,?,?,?)",
                (time.time(), routing, since, until, why),
            )
        return int(done.lastrowid or 0)

    @property
    def live(self) -> int:
        """The number of the version that is live; 0 is the run's own router."""
        return int(self._fact("live"))

    @property
    def since(self) -> int:
        """Feedback up to this number is learned from no more: it led to what was rolled back."""
        return int(self._fact("since"))

    def set_live(self, version: int, since: int | None = None) -> None:
        """Note which version is live, and from which feedback on it is learned."""
        with self._storing():
            self._file.execute("begin immediate")
            try:
                self._file.execute("insert or replace into facts values ('live', ?)", (str(version),))
                if since is not None:
                    self._file.execute("insert or replace into facts values ('since', ?)", (str(since),))
                self._file.execute("commit")
            except sqlite3.Error:
                self._file.execute("rollback")
                raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _fact(self, name: str) -> str:
        row = self._file.execute("select value from facts where name = ?", (name,)).fetchone()
        return str(row[0]) if row else "0"

    def _one(self, query: str, *values: str | float) -> tuple[int, ...]:
        return self._file.execute(query, values).fetchone()

    @contextmanager
    def _storing(self) -> Generator[None]:
        """What SQLite says as an error of ours."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise StorageError(
                f"{self._path}: {error}. Free space there, move the file away if it is damaged, or serve with "
                "--learning bypass"
            ) from error


def _packed(features: np.ndarray) -> bytes:
    return features.astype(np.float16).tobytes()


def _unpacked(blob: bytes) -> np.ndarray:
    return np.frombuffer(blob, dtype=np.float16).astype(np.float32)
