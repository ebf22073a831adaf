"""Near duplicates: edits of a text cluster with it, other texts do not, and the index is the exact one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitune.audit.near import SHINGLE, near_clusters
from multitune.data.splits import text_hash
from tests.audit.made import SENTENCES


def clusters(*texts: str, jaccard: float = 0.7) -> list[int]:
    numbers = np.array([text_hash(text, 0) for text in texts], dtype=np.uint64)
    return near_clusters(numbers, lambda: texts, jaccard).tolist()


def index(one: str, other: str) -> float:
    left, right = ({text[at : at + SHINGLE] for at in range(len(text) - SHINGLE + 1)} for text in (one, other))
    return len(left & right) / len(left | right)


def test_one_wrong_letter_makes_a_near_duplicate() -> None:
    text = SENTENCES[0]
    one, other, third = clusters(text, text.replace("evening", "evenink"), SENTENCES[1])
    assert one == other != third


def test_case_and_spacing_do_not_count() -> None:
    one, other = clusters(SENTENCES[2], f"  {SENTENCES[2].upper()}\n")
    assert one == other


def test_different_sentences_are_each_a_cluster() -> None:
    assert len(set(clusters(*SENTENCES))) == len(SENTENCES)


def test_a_chain_of_small_edits_is_one_cluster() -> None:
    words = SENTENCES[3].split()
    chain = [" ".join([*(["changed"] * at), *words[at:]]) for at in range(len(words))]
    assert len(set(clusters(*chain, jaccard=0.5))) < len(chain)
    assert clusters(*chain, jaccard=0.5)[:4] == [0] * 4


def test_short_texts_are_the_same_only_where_they_are_equal() -> None:
    one, other, again = clusters("I ate 3 apples", "I ate 4 apples", "I ate 3 apples")
    assert one == again != other


@pytest.mark.parametrize("place", range(6))
def test_the_index_that_decides_is_the_exact_one(place: int) -> None:
    text = SENTENCES[place].lower()
    edited = text[:20] + "x" + text[21:]
    exact = index(text, edited)
    assert len(set(clusters(text, edited, jaccard=exact - 1e-9))) == 1
    assert len(set(clusters(text, edited, jaccard=exact + 1e-9))) == 2


@given(st.lists(st.text(), max_size=8))
def test_equal_texts_share_a_cluster_whatever_they_are(texts: list[str]) -> None:
    found = clusters(*texts, *texts)
    assert found[: len(texts)] == found[len(texts) :]
