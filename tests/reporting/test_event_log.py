"""An event log is followed line by line: whole lines, each once, also where it shrinks, is replaced, or is damaged."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitune.core.events import EventLog, unwatched
from multitune.core.results.events import NoteEvent, UnknownEvent, parse_event
from multitune.core.run_folder import RunFolder
from multitune.reporting.event_log import Entry, Follower, LogReader, finite, unread


def line(number: int) -> bytes:
    """All of one length, so that a log that was cut and grew again ends where it ended before."""
    return json.dumps({"kind": "note", "text": f"{number:06d}"}).encode() + b"\n"


def taken(events: list[Any], entries: list[Entry]) -> list[Any]:
    """What a reader has who cuts his list to an entry's number before he takes it."""
    for entry in entries:
        assert entry.number <= len(events), "a line was left out"
        del events[entry.number :]
        events.append(entry.event)
    return events


def text_of(entry: Entry) -> str:
    assert isinstance(entry.event, NoteEvent)
    return entry.event.text


def whole_lines(path: Path) -> list[Any]:
    return [parse_event(json.loads(part)) for part in path.read_bytes().split(b"\n")[:-1]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 4)),
    st.tuples(st.just("cut"), st.integers(0, 8)),
    st.tuples(st.just("half"), st.integers(1, 20)),
    st.tuples(st.just("replace"), st.integers(0, 4)),
    st.tuples(st.just("read"), st.just(0)),
)


@given(st.lists(STEPS, max_size=30))
def test_whatever_becomes_of_a_log_its_reader_ends_with_its_lines(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    reader, seen, written = LogReader(path), [], 0
    for what, count in steps:
        held = path.read_bytes() if path.exists() else b""
        whole = held[: held.rfind(b"\n") + 1]
        if what == "read":
            taken(seen, reader.news())
            continue
        if what == "half":
            path.write_bytes(whole + line(written)[:count])
            continue
        if what == "cut":  # and write other lines, as a resumed run does
            whole = b"".join(whole.splitlines(keepends=True)[:count])
        if what == "replace":
            path.unlink(missing_ok=True)
            whole = b""
        path.write_bytes(whole + b"".join(line(written + i) for i in range(max(count, 1))))
        written += max(count, 1)
    taken(seen, reader.news())
    if path.exists():
        path.write_bytes(path.read_bytes()[: path.read_bytes().rfind(b"\n") + 1] + line(written))
        taken(seen, reader.news())
        assert seen == whole_lines(path)


def test_a_half_written_line_is_waited_for(path: Path) -> None:
    reader = LogReader(path)
    path.write_bytes(line(0) + line(1)[:9])
    assert [text_of(entry) for entry in reader.news()] == ["000000"]
    assert reader.news() == []
    path.write_bytes(line(0) + line(1))
    assert [(entry.number, text_of(entry)) for entry in reader.news()] == [(1, "000001")]


def test_only_what_changed_is_told_again_after_a_cut(path: Path) -> None:
    reader = LogReader(path)
    path.write_bytes(b"".join(map(line, range(10))))
    reader.news()
    path.write_bytes(b"".join(map(line, range(6))) + b"".join(map(line, range(20, 26))))
    assert [(entry.number, text_of(entry)) for entry in reader.news()] == [(6 + i, f"{20 + i:06d}") for i in range(6)]


def test_a_log_that_is_not_there_yet_is_waited_for(path: Path) -> None:
    reader = LogReader(path)
    assert reader.news() == []
    path.write_bytes(line(0))
    assert len(reader.news()) == 1


def test_a_log_longer_than_the_window_is_followed_through_a_cut(path: Path) -> None:
    first, second = b"".join(map(line, range(4000))), b"".join(map(line, range(9000, 12000)))
    reader, seen = LogReader(path), []
    path.write_bytes(first)
    taken(seen, reader.news())
    path.write_bytes(first[: len(line(0)) * 1500] + second)
    taken(seen, reader.news())
    assert seen == whole_lines(path) and len(seen) == 4500


STEP = {"kind": "step", "step": 1, "steps": 2, "seconds": 1.0, "tokens": 3, "adapters": {}}


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[]",
        b"3",
        b'{"no": "kind"}',
        b'{"kind": 3}',
        b"\xff\xfe",
        b"",
        b"[" * 100_000,
        b'{"kind": "step"}',
        json.dumps({**STEP, "steps": 0}).encode(),
        json.dumps({**STEP, "adapters": {"shared": {"tasks": {"a": "much"}, "shares": {}}}}).encode(),
        b'{"kind": "validation", "step": 1, "adapter": "a", "tasks": [], "best": []}',
    ],
)
def test_a_line_that_is_no_event_keeps_its_place_and_stops_nothing(path: Path, text: bytes) -> None:
    path.write_bytes(line(0) + text + b"\n" + line(2))
    assert [entry.event.kind for entry in LogReader(path).news()] == ["note", "damaged", "note"]


def test_a_kind_of_a_newer_version_is_unknown_and_passed_over(path: Path) -> None:
    path.write_text('{"kind": "weather", "sun": true}\n')
    assert LogReader(path).news()[0].event == UnknownEvent()


def test_a_reader_who_comes_back_gets_what_he_lacks_and_no_more(path: Path) -> None:
    path.write_bytes(b"".join(map(line, range(9))))
    entries = LogReader(path).news()
    for had in range(9):
        assert list(unread(entries, entries[had].key)) == entries[had + 1 :]
    assert list(unread(entries, None)) == entries


@pytest.mark.parametrize("key", ["", "8", "8-", "8-0000000000000000", "99-x", "-1", "\x00", "a" * 10_000])
def test_a_reader_whose_line_is_gone_gets_all(path: Path, key: str) -> None:
    path.write_bytes(b"".join(map(line, range(9))))
    entries = LogReader(path).news()
    assert list(unread(entries, key)) == entries


def test_a_line_that_was_cut_and_written_again_is_another_line(path: Path) -> None:
    path.write_bytes(b"".join(map(line, range(5))))
    before = LogReader(path).news()
    path.write_bytes(line(0) + line(17) + b"".join(map(line, range(2, 5))))
    after = LogReader(path).news()
    assert before[0].key == after[0].key and before[4].event == after[4].event
    assert list(unread(after, before[4].key)) == after


def test_a_run_is_running_while_its_log_is_held_and_finished_when_it_has_scores(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.config.write_text("name: x")
    follower = Follower(folder)
    log = EventLog(folder.events, unwatched)
    log.open(0)
    log(NoteEvent(text="x"))
    folder.scores.write_text("{}")
    news = follower.news()
    assert (news.state, len(news.entries), news.is_last) == ("running", 1, False)
    log.close()
    assert follower.news().is_last
    folder.scores.unlink()
    assert follower.news().state == "stopped"


def test_json_for_a_browser_has_neither_nan_nor_infinity() -> None:
    value = {"a": [1.0, float("nan"), {"b": float("-inf")}], "c": "NaN"}
    assert finite(value) == {"a": [1.0, None, {"b": None}], "c": "NaN"}
