import hashlib
import resource
from pathlib import Path

import numpy as np
import pytest

from multitune.core.errors import DataError, TaskError
from multitune.core.records import Example
from multitune.data.tokenizer import ChatFormat
from multitune.data.tokens import TokenSet, encode


def prompt_ids(chat: ChatFormat, prompt: str) -> list[int]:
    return chat.encode_prompts([prompt])[0].tolist()


def example(number: int, prompt: str = "", answer: str = "") -> Example:
    return Example("tweets", f"id{number}", prompt or f"What is {number}?", answer or f"number {number}", "gold")


ROWS = [example(i) for i in range(50)]


def same(a: TokenSet, b: TokenSet) -> bool:
    arrays = ((flat(a), flat(b)), (a.offsets, b.offsets), (a.kept, b.kept))
    return a.digest == b.digest and a.too_long == b.too_long and all(np.array_equal(x, y) for x, y in arrays)


def flat(tokens: TokenSet) -> np.ndarray:
    return np.concatenate([row.tokens for row in tokens])


def test_each_row_holds_its_prompt_and_its_answer(chat: ChatFormat) -> None:
    tokens = encode(ROWS, chat, 100)
    assert len(tokens) == 50
    for row, segments in zip(ROWS, tokens, strict=True):
        assert segments.prompt.tolist() == prompt_ids(chat, row.prompt)
        assert segments.answer.tolist() == chat.answer_ids(row.answer)


def test_a_token_set_is_a_sequence(chat: ChatFormat) -> None:
    tokens = encode(ROWS, chat, 100)
    assert tokens[-1].tokens.tolist() == tokens[49].tokens.tolist() == tokens[48:][1].tokens.tolist()
    with pytest.raises(IndexError):
        tokens[50]


def test_answer_lengths_count_the_tokens_that_carry_loss(chat: ChatFormat) -> None:
    tokens = encode(ROWS, chat, 100)
    assert tokens.answer_lengths.tolist() == [len(segments.answer) for segments in tokens]


def test_rows_over_the_length_are_left_out_and_named(chat: ChatFormat) -> None:
    rows = [example(0), example(1, prompt="word " * 200), example(2), example(3, answer="word " * 200)]
    tokens = encode(rows, chat, 100)
    assert tokens.kept.tolist() == [0, 2]
    assert tokens.too_long == ["id1", "id3"]
    assert tokens[1].prompt.tolist() == prompt_ids(chat, rows[2].prompt)


def test_a_row_of_the_very_length_is_kept(chat: ChatFormat) -> None:
    length = len(prompt_ids(chat, ROWS[0].prompt) + chat.answer_ids(ROWS[0].answer))
    assert len(encode(ROWS[:1], chat, length)) == 1
    with pytest.raises(DataError, match=f"all 1 rows have more tokens than train.max_length, which is {length - 1}"):
        encode(ROWS[:1], chat, length - 1)


def test_no_examples_make_an_empty_set(chat: ChatFormat) -> None:
    assert len(encode([], chat, 100)) == 0


def test_an_answer_without_tokens_names_its_row(chat: ChatFormat) -> None:
    with pytest.raises(TaskError, match="task 'tweets', row id50: the answer ' '"):
        encode([*ROWS, example(50, answer=" ")], chat, 100)


def test_a_second_time_comes_from_the_cache(chat: ChatFormat, tmp_path: Path) -> None:
    seen: list[int] = []
    first = encode(ROWS, chat, 100, tmp_path)
    made = {file: (file.stat().st_mtime_ns, file.stat().st_ino) for file in tmp_path.iterdir()}
    assert {file.suffix for file in made} == {".arrow", ".json"}
    assert same(first, encode(ROWS, chat, 100, tmp_path, seen.append))
    assert made == {file: (file.stat().st_mtime_ns, file.stat().st_ino) for file in tmp_path.iterdir()}
    assert seen == [50]


def test_tokens_from_the_cache_are_read_from_their_file_and_not_held(chat: ChatFormat, tmp_path: Path) -> None:
    import pyarrow

    for _ in range(2):  # as it is made, and as it is found
        before = pyarrow.total_allocated_bytes()
        tokens = encode(ROWS, chat, 100, tmp_path)
        assert pyarrow.total_allocated_bytes() == before
        assert all(not part.flags.owndata for part in tokens.parts)


def test_a_row_is_found_behind_a_part_whose_every_row_is_left_out(chat: ChatFormat) -> None:
    rows = [example(i, prompt="word " * 200 if 1000 <= i < 2000 else "") for i in range(2500)]
    tokens = encode(rows, chat, 100)
    assert [len(part) > 0 for part in tokens.parts] == [True, False, True] and len(tokens) == 1500
    for row in (999, 1000, 1499):
        assert tokens[row].answer.tolist() == chat.answer_ids(f"number {tokens.kept[row]}")


def test_the_digest_is_that_of_all_tokens_laid_end_to_end(chat: ChatFormat, tmp_path: Path) -> None:
    rows = [example(i, prompt="word " * 200 if i == 1200 else "") for i in range(2500)]
    tokens = encode(rows, chat, 100, tmp_path)
    assert len(tokens.parts) == 3 and tokens.total == len(flat(tokens)) == sum(map(len, tokens.parts))
    content = flat(tokens).tobytes() + tokens.offsets.tobytes() + tokens.kept.tobytes()
    assert tokens.digest == hashlib.sha256(content).hexdigest()
    assert tokens[-1].answer.tolist() == chat.answer_ids("number 2499")


def test_other_rows_lengths_or_formats_miss_the_cache(chat: ChatFormat, tmp_path: Path) -> None:
    other = ChatFormat(chat.tokenizer, "Be brief.")
    sets = [encode(ROWS, chat, 100, tmp_path), encode(ROWS, chat, 99, tmp_path), encode(ROWS, other, 100, tmp_path)]
    encode([*ROWS[:-1], example(49, answer="else")], chat, 100, tmp_path)
    assert len(list(tmp_path.glob("*.arrow"))) == len(list(tmp_path.glob("*.json"))) == 4
    assert sets[0].digest != sets[2].digest


@pytest.mark.parametrize("suffix", [".arrow", ".json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "one byte"])
def test_a_damaged_cache_is_made_again(chat: ChatFormat, tmp_path: Path, damage: str, suffix: str) -> None:
    first = encode(ROWS, chat, 100)
    encode(ROWS, chat, 100, tmp_path)
    (file,) = tmp_path.glob(f"*{suffix}")
    whole = file.read_bytes()
    at = len(whole) // 3
    flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    file.write_bytes(
        {"cut": whole[: len(whole) // 2], "empty": b"", "noise": b"\x80" * 50, "one byte": flipped}[damage]
    )
    assert same(first, encode(ROWS, chat, 100, tmp_path))
    assert file.stat().st_size == len(whole)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("room", [0, 50_001], ids=["no room", "room for some"])
def test_a_disk_that_fills_up_costs_memory_and_no_token(chat: ChatFormat, tmp_path: Path, room: int) -> None:
    rows = [example(i) for i in range(3000)]
    expected = encode(rows, chat, 100)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))  # a longer file is refused, as on a full disk
    try:
        found = encode(rows, chat, 100, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert same(expected, found)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_done_without(chat: ChatFormat, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert len(encode(ROWS, chat, 100, tmp_path / "file" / "cache")) == 50


def test_progress_ends_at_the_number_of_rows(chat: ChatFormat) -> None:
    seen: list[int] = []
    encode([example(i) for i in range(2500)], chat, 100, progress=seen.append)
    assert seen == [1000, 2000, 2500]


def test_rows_of_a_hundred_thousand_characters_are_told_and_left_out(chat: ChatFormat) -> None:
    words, blob = "the market rose " * 6250, "a" * 100_000
    tokens = encode([example(i, prompt=[words, blob][i % 2], answer=words) for i in range(10)] + ROWS, chat, 2048)
    assert len(tokens) == 50
    assert len(tokens.too_long) == 10
