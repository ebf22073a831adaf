"""Laws of packs: a trie holds just its rows, sees just its ancestors, and keeps every target with its weight."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multitune.core.records import Pack, PackRow, Segments
from multitune.mixture.packing import common_prefix, pack_rows

letters = st.integers(1, 3)


@st.composite
def pack_row(draw: st.DrawFn) -> PackRow:
    prompt = np.array(draw(st.lists(letters, min_size=1, max_size=6)), dtype=np.int32)
    answer = np.array(draw(st.lists(letters, min_size=1, max_size=4)), dtype=np.int32)
    weight = draw(st.sampled_from([0.25, 1.0, 3.0]))
    return PackRow(Segments(prompt, answer), draw(st.integers(-1, 2)), draw(st.integers(0, 1)), weight)


rows_of_a_step = st.lists(pack_row(), min_size=1, max_size=12)
budgets = st.integers(1, 40)
laws = settings(max_examples=50)


def row(prompt: list[int], answer: list[int], adapter: int = 0) -> PackRow:
    return PackRow(Segments(np.array(prompt, dtype=np.int32), np.array(answer, dtype=np.int32)), adapter, 0)


def parents(pack: Pack) -> list[int]:
    """The parent of each node by depth alone, as depth-first order has it; -1 for a root."""
    open_path: list[int] = []
    result = []
    for node, depth in enumerate(pack.position):
        del open_path[depth:]
        result.append(open_path[-1] if open_path else -1)
        open_path.append(node)
    return result


def path(pack: Pack, node: int) -> list[int]:
    """Nodes from the root to `node`."""
    above = parents(pack)
    nodes = []
    while node >= 0:
        nodes.append(node)
        node = above[node]
    return nodes[::-1]


def targets(pack: Pack, given_rows: list[PackRow]) -> list[tuple[object, ...]]:
    """Each target with what its node has read, in an order that no numbering decides."""
    found = []
    for node, token, weight, place in zip(
        pack.target_node, pack.target_token, pack.target_weight, pack.target_row, strict=True
    ):
        read = tuple(pack.tokens[path(pack, node)].tolist())
        original = given_rows[pack.rows[place]]
        found.append((original.adapter, original.task, read, int(token), float(weight)))
    return sorted(found)


@given(rows_of_a_step, budgets, st.booleans())
@laws
def test_walking_a_rows_path_gives_back_its_tokens(rows, budget, share):
    walked = {}
    for pack in pack_rows(rows, budget, share):
        for place, index in enumerate(pack.rows):
            last = pack.target_node[pack.target_row == place][-1]
            walked[index] = pack.tokens[path(pack, last)].tolist()
    assert walked == {i: r.segments.tokens[:-1].tolist() for i, r in enumerate(rows)}


@given(rows_of_a_step, budgets, st.booleans())
@laws
def test_a_query_sees_its_ancestors_and_itself_and_nothing_else(rows, budget, share):
    for pack in pack_rows(rows, budget, share):
        seen = [[k for k in range(q + 1) if q < pack.end[k]] for q in range(len(pack))]
        assert seen == [path(pack, q) for q in range(len(pack))]


@given(rows_of_a_step, budgets)
@laws
def test_only_a_row_longer_than_the_budget_exceeds_it(rows, budget):
    over = [pack for pack in pack_rows(rows, budget) if len(pack) > budget]
    assert all(len(pack.rows) == 1 for pack in over)


def test_packs_are_about_equal_instead_of_full_ones_and_a_rest():
    rows = [row([i, i, i, i, i], [1]) for i in range(11)]
    assert [len(pack) for pack in pack_rows(rows, 50)] == [30, 25]


@given(rows_of_a_step, budgets, st.booleans())
@laws
def test_slices_cover_a_pack_in_order_and_name_each_tokens_adapter(rows, budget, share):
    for pack in pack_rows(rows, budget, share):
        owner = [adapter for adapter, start, stop in pack.slices for _ in range(start, stop)]
        assert [start for _, start, _ in pack.slices] == [0, *(stop for _, _, stop in pack.slices[:-1])]
        assert len(owner) == len(pack)
        assert [owner[node] for node in pack.target_node] == [rows[pack.rows[at]].adapter for at in pack.target_row]


@given(rows_of_a_step, budgets)
@laws
def test_a_slice_is_one_adapters_whole_part_of_a_pack(rows, budget):
    for pack in pack_rows(rows, budget):
        adapters = [adapter for adapter, _, _ in pack.slices]
        assert adapters == sorted(set(adapters))


@given(rows_of_a_step, budgets, st.booleans())
@laws
def test_targets_are_just_the_answer_tokens_with_their_rows_weight(rows, budget, share):
    expected = []
    for r in rows:
        tokens, start = r.segments.tokens.tolist(), len(r.segments.prompt)
        for place in range(start, len(tokens)):
            expected.append((r.adapter, r.task, tuple(tokens[:place]), tokens[place], r.weight))
    found = [target for pack in pack_rows(rows, budget, share) for target in targets(pack, rows)]
    assert sorted(found) == sorted(expected)


@given(rows_of_a_step, budgets)
@laws
def test_no_prompt_token_but_the_last_predicts_anything(rows, budget):
    for pack in pack_rows(rows, budget):
        prompts = np.array([len(rows[i].segments.prompt) for i in pack.rows])
        assert (pack.position[pack.target_node] >= prompts[pack.target_row] - 1).all()


@given(rows_of_a_step, budgets)
@laws
def test_without_sharing_rows_lie_side_by_side_whole(rows, budget):
    for pack in pack_rows(rows, budget, share=False):
        lengths = [len(rows[i].segments.tokens) - 1 for i in pack.rows]
        assert pack.position.tolist() == [place for length in lengths for place in range(length)]
        assert pack.end.tolist() == np.repeat(np.cumsum(lengths), lengths).tolist()


@given(rows_of_a_step, budgets, st.booleans())
@laws
def test_logical_tokens_are_those_of_the_rows_laid_out_one_by_one(rows, budget, share):
    for pack in pack_rows(rows, budget, share):
        assert pack.logical_tokens == sum(len(rows[i].segments.tokens) - 1 for i in pack.rows)


@given(rows_of_a_step)
@laws
def test_one_pack_holds_every_distinct_prefix_once(rows):
    prefixes = {
        (r.adapter, tuple(r.segments.tokens[:length].tolist()))
        for r in rows
        for length in range(1, len(r.segments.tokens))
    }
    (pack,) = pack_rows(rows, 10_000)
    assert len(pack) == len(prefixes)


@given(rows_of_a_step, budgets, st.randoms(use_true_random=False))
@laws
def test_a_permutation_of_the_rows_changes_only_their_numbering(rows, budget, random):
    shuffled = random.sample(rows, len(rows))
    one, other = pack_rows(rows, budget), pack_rows(shuffled, budget)
    assert [(p.tokens.tolist(), p.end.tolist(), p.slices) for p in one] == [
        (p.tokens.tolist(), p.end.tolist(), p.slices) for p in other
    ]


@given(rows_of_a_step, st.randoms(use_true_random=False))
@laws
def test_a_permutation_of_the_rows_keeps_a_packs_targets(rows, random):
    shuffled = random.sample(rows, len(rows))
    (one,), (other,) = pack_rows(rows, 10_000), pack_rows(shuffled, 10_000)
    assert targets(one, rows) == targets(other, shuffled)


def test_duplicate_rows_are_laid_out_once_and_each_keeps_its_targets():
    (pack,) = pack_rows([row([1, 2], [3, 2])] * 3, 100)
    assert (len(pack), pack.target_row.tolist()) == (3, [0, 0, 1, 1, 2, 2])


def test_a_branch_point_predicts_a_token_for_each_branch():
    (pack,) = pack_rows([row([1, 2], [3]), row([1, 2], [1])], 100)
    assert (pack.target_node.tolist(), sorted(pack.target_token.tolist())) == ([1, 1], [1, 3])


def test_adapters_never_share_a_prefix():
    (pack,) = pack_rows([row([1, 2], [3], adapter=0), row([1, 2], [3], adapter=1)], 100)
    assert pack.slices == ((0, 0, 2), (1, 2, 4))


def test_no_rows_make_no_packs():
    assert pack_rows([], 100) == []


@pytest.mark.parametrize(("prompt", "answer"), [([], [1, 2]), ([1, 2], [])])
def test_a_row_without_prompt_or_answer_is_our_own_bug(prompt, answer):
    with pytest.raises(AssertionError, match="prompt and an answer"):
        pack_rows([row(prompt, answer)], 100)


@given(st.lists(letters), st.lists(letters))
@laws
def test_the_common_prefix_is_the_longest_one(a, b):
    length = common_prefix(np.array(a, dtype=np.int32), np.array(b, dtype=np.int32))
    assert a[:length] == b[:length]
    assert length == min(len(a), len(b)) or a[length] != b[length]


@laws
@given(rows_of_a_step, budgets)
def test_filling_ends_every_slice_at_a_multiple(rows: list[PackRow], budget: int) -> None:
    for pack in pack_rows(rows, budget, align=16):
        assert all(stop % 16 == 0 for _, _, stop in pack.slices) and pack.slices[-1][2] == len(pack)


@laws
@given(rows_of_a_step, budgets)
def test_filling_changes_no_target_and_nothing_it_has_read(rows: list[PackRow], budget: int) -> None:
    plain, filled = pack_rows(rows, budget), pack_rows(rows, budget, align=16)
    found = sorted((t for pack in filled for t in targets(pack, rows)), key=repr)
    assert found == sorted((t for pack in plain for t in targets(pack, rows)), key=repr)


@laws
@given(rows_of_a_step)
def test_filling_sees_itself_alone(rows: list[PackRow]) -> None:
    for pack in pack_rows(rows, 1000, align=16):
        read = {node for target in set(pack.target_node.tolist()) for node in path(pack, target)}
        filling = [node for node in range(len(pack)) if node not in read]
        seen = [[k for k in range(q + 1) if q < pack.end[k]] for q in filling]
        assert seen == [[node] for node in filling]
