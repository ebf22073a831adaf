"""Laws of the bank: adapters never touch one another, and a gradient does not know who else is there."""

import pytest
import torch

from multitune.core.errors import AdapterError, ModelError
from multitune.core.records import Pack
from multitune.mixture.packing import pack_rows
from multitune.model.bank import Adapter, AdapterBank
from multitune.model.files import load_adapter, save_adapter

EIGHT = tuple("abcdefgh")


@pytest.fixture
def bank(wrapped) -> AdapterBank:
    return AdapterBank(wrapped())


def logits(bank: AdapterBank, name: str) -> torch.Tensor:
    ids = torch.arange(5, 25)[None]
    with torch.no_grad(), bank.use(name) as model:
        return model(input_ids=ids, use_cache=False).logits


def backward(bank: AdapterBank, packs: list[Pack]) -> None:
    for pack in packs:
        with bank.route(pack.slices, len(pack)):
            losses = bank.backbone.losses(pack)
        (losses * torch.from_numpy(pack.target_weight)).sum().backward()


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool(torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max())))


def test_a_new_adapter_changes_nothing(bank):
    before = logits(bank, "base")
    bank.create("a", 4, 8.0, "all", seed=0)
    assert torch.equal(logits(bank, "a"), before)


def test_a_filled_adapter_changes_the_output(bank, fill):
    fill(bank, "a")
    assert not torch.allclose(logits(bank, "a"), logits(bank, "base"), atol=1e-2)


def test_adding_an_adapter_leaves_the_others_bit_for_bit(bank, fill):
    fill(bank, "a")
    before = logits(bank, "a"), logits(bank, "base")
    fill(bank, "b")
    assert torch.equal(logits(bank, "a"), before[0]) and torch.equal(logits(bank, "base"), before[1])


def test_removing_an_adapter_leaves_the_others_bit_for_bit(bank, fill):
    for name in "abc":
        fill(bank, name)
    before = [logits(bank, name) for name in ("a", "c", "base")]
    bank.remove("b")
    assert bank.names == ("a", "c")
    assert all(torch.equal(logits(bank, n), old) for n, old in zip(("a", "c", "base"), before, strict=True))


def test_a_number_in_use_is_never_given_again(bank, fill):
    for name in "abc":
        fill(bank, name)
    bank.remove("a")
    fill(bank, "d")
    assert sorted(bank.number(name) for name in bank.names) == [1, 2, 3]


def test_the_start_of_an_adapter_follows_from_seed_and_name_alone(wrapped):
    one, other = AdapterBank(wrapped()), AdapterBank(wrapped())
    other.create("first", 2, 2.0, "attention", seed=9)
    found = [bank.create("a", 4, 8.0, "all", seed=3).weights for bank in (one, other)]
    assert torch.equal(*found)


@pytest.mark.parametrize(("name", "seed"), [("b", 3), ("a", 4)])
def test_another_name_or_seed_starts_elsewhere(bank, wrapped, name, seed):
    other = AdapterBank(wrapped()).create(name, 4, 8.0, "all", seed=seed)
    assert not torch.equal(bank.create("a", 4, 8.0, "all", seed=3).weights, other.weights)


def test_an_unknown_adapter_suggests_the_nearest(bank):
    bank.create("tweets", 2, 2.0, "all", seed=0)
    with pytest.raises(AdapterError, match="Did you mean 'tweets'"):
        bank.remove("tweet")


@pytest.mark.parametrize("name", ["base", "a"])
def test_a_name_that_is_taken_is_refused(bank, name):
    bank.create("a", 2, 2.0, "all", seed=0)
    with pytest.raises(AdapterError, match="is taken"):
        bank.create(name, 2, 2.0, "all", seed=0)


def test_an_unknown_target_suggests_the_nearest(bank):
    with pytest.raises(ModelError, match="Did you mean 'q_proj'"):
        bank.create("a", 2, 2.0, ("q_pro",), seed=0)


def test_targets_name_endings_or_whole_layers(bank):
    whole = "model.layers.1.mlp.up_proj"
    adapter = bank.create("a", 2, 2.0, ("q_proj", whole), seed=0)
    assert [s.module for s in adapter.slots] == [
        "model.layers.0.self_attn.q_proj",
        "model.layers.1.self_attn.q_proj",
        whole,
    ]


def test_attention_targets_are_those_of_attention(bank):
    adapter = bank.create("a", 2, 2.0, "attention", seed=0)
    assert {s.module.rpartition(".")[2] for s in adapter.slots} == {"q_proj", "k_proj", "v_proj", "o_proj"}


def test_the_output_embedding_is_no_target(bank):
    assert not any("lm_head" in name for name in bank.linear_names)


def test_an_adapters_gradient_is_the_same_alone_and_among_eight(wrapped, fill, draw_rows):
    rows = draw_rows(range(8))
    found = []
    for names in (EIGHT, ("d",)):
        bank = AdapterBank(wrapped())
        for name in EIGHT:
            fill(bank, name)
        for name in names:
            bank.train(name)
        wanted = {bank.number(name) for name in names}
        backward(bank, pack_rows([r for r in rows if r.adapter in wanted], 10_000))
        found.append(bank["d"].grad)
    assert close(*found)


def test_an_adapter_that_is_not_trained_gets_no_gradient(bank, fill, draw_rows):
    fill(bank, "a")
    fill(bank, "b")
    bank.train("a")
    backward(bank, pack_rows(draw_rows((0, 1)), 10_000))
    assert bank["b"].grad is None and bank["a"].grad is not None


def test_rows_of_the_base_get_the_base_bit_for_bit(bank, fill, draw_rows):
    (pack,) = pack_rows(draw_rows((-1,)), 10_000)
    with torch.no_grad():
        before = bank.backbone.losses(pack)
        fill(bank, "a")
        with bank.route(pack.slices, len(pack)):
            assert torch.equal(bank.backbone.losses(pack), before)


@pytest.mark.parametrize("family", ["smollm", "gemma2", "mamba"])
def test_recomputed_layers_give_the_same_gradients(wrapped, fill, draw_rows, family):
    found = []
    for recompute in (0, 1, None):  # none, the first one, all
        bank = AdapterBank(wrapped(family))
        for name in "ab":
            fill(bank, name)
            bank.train(name)
        bank.recompute_layers(recompute)
        backward(bank, pack_rows(draw_rows((0, 1, -1)), 60, bank.backbone.shares_prefixes))
        found.append(torch.cat([bank["a"].grad, bank["b"].grad]))
    assert found[0].abs().max() > 0 and torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_recomputed_layers_are_kept_nowhere(bank, fill, draw_rows):
    fill(bank, "a")
    bank.train("a")
    kept = []
    for recompute in (0, 1, None):
        bank.close()
        bank = AdapterBank(bank.backbone)
        fill(bank, "a")
        bank.train("a")
        bank.recompute_layers(recompute)
        (pack,) = pack_rows(draw_rows((0,)), 10_000)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, to=sizes: to.append(t.numel()) or t, lambda t: t):
            bank.backbone.losses(pack)
        kept.append(sum(sizes))
    assert kept[0] > kept[1] > kept[2] and kept[2] < kept[0] / 4


def test_generation_goes_on_with_recomputed_layers(bank, fill):
    fill(bank, "a")
    bank.recompute_layers()
    ids = torch.arange(5, 15)[None]
    with torch.no_grad(), bank.use("a") as model:
        out = model.generate(ids, max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert out.shape[1] > ids.shape[1]


def test_a_base_without_linear_layers_is_refused(wrapped):
    bank = AdapterBank(wrapped("gpt2"))
    with pytest.raises(ModelError, match="no plain linear layers"):
        bank.create("a", 2, 2.0, "all", seed=0)


def test_a_layer_that_mamba_reads_past_is_no_target(wrapped):
    bank = AdapterBank(wrapped("mamba"))
    assert {name.rpartition(".")[2] for name in bank.linear_names} == {"in_proj", "x_proj"}


def test_an_untrained_adapter_on_top_is_what_it_stands_on(bank, fill):
    fill(bank, "below")
    bank.create("above", 4, 8.0, "all", seed=1)
    bank.stack("above", "below")
    assert torch.equal(logits(bank, "above"), logits(bank, "below"))


def test_a_stack_as_one_plain_adapter_answers_the_same(bank, fill):
    fill(bank, "lowest")
    fill(bank, "below", rank=2, alpha=16.0)
    fill(bank, "above", rank=8, targets="attention")
    bank.stack("below", "lowest")
    bank.stack("above", "below")
    flat = bank.flattened("above")
    assert {slot.rank for slot in flat.slots} == {4 + 2, 4 + 2 + 8}
    bank.attach("flat", flat.slots, flat.weights)
    found, expected = logits(bank, "flat"), logits(bank, "above")
    assert close(found, expected) and not close(found, logits(bank, "below"))


@pytest.mark.parametrize(("train_parent", "moved"), [(False, (False, True)), (True, (True, True))])
def test_rows_move_their_adapter_alone_unless_it_trains_its_parent(bank, fill, draw_rows, train_parent, moved):
    for name in ("below", "above"):
        fill(bank, name)
        bank.train(name)
    bank.stack("above", "below", train_parent)
    backward(bank, pack_rows(draw_rows((bank.number("above"),)), 10_000))
    assert (bool(bank["below"].grad.any()), bool(bank["above"].grad.any())) == moved


def test_an_adapter_that_carries_another_is_not_removed(bank, fill):
    fill(bank, "below")
    fill(bank, "above")
    bank.stack("above", "below")
    before = logits(bank, "above")
    with pytest.raises(AdapterError, match="'above' stacks on it"):
        bank.remove("below")
    assert torch.equal(logits(bank, "above"), before)
    bank.remove("above")
    bank.remove("below")


def added(adapter: Adapter) -> dict[str, torch.Tensor]:
    """Module -> what the adapter adds to its weight."""
    pairs = {slot.module: (slot, *slot.views(adapter.weights)) for slot in adapter.slots}
    return {module: slot.scale * (b @ a) for module, (slot, a, b) in pairs.items()}


def test_the_average_of_adapters_adds_the_mean_of_what_they_add(bank, fill):
    fill(bank, "a")
    fill(bank, "below", rank=2, alpha=16.0)
    fill(bank, "above", rank=8, targets="attention")
    bank.stack("above", "below")
    found = added(bank.averaged("average", ["a", "above"]))
    parts = [added(bank["a"]), added(bank.flattened("above"))]
    assert found.keys() == parts[0].keys() | parts[1].keys()
    for module, total in found.items():
        expected = sum(part[module] for part in parts if module in part) / 2
        assert torch.allclose(total, expected, atol=1e-5)


def test_an_average_answers_the_same_after_a_trip_to_the_disk(bank, fill, tmp_path):
    fill(bank, "a")
    fill(bank, "b", rank=2)
    average = bank.averaged("average", ["a", "b"])
    bank.attach("average", average.slots, average.weights)
    save_adapter(average, tmp_path / "average", bank, {})
    load_adapter(bank, tmp_path / "average", "again")
    assert torch.equal(logits(bank, "again"), logits(bank, "average"))
    assert not close(logits(bank, "average"), logits(bank, "a"))


def test_the_average_of_one_adapter_is_that_adapter(bank, fill):
    fill(bank, "a")
    assert all(torch.equal(x, added(bank["a"])[m]) for m, x in added(bank.averaged("average", ["a"])).items())


@pytest.fixture
def half(wrapped) -> AdapterBank:
    """A bank whose layers compute in bfloat16."""
    return AdapterBank(wrapped(dtype=torch.bfloat16))


def test_a_loaded_adapter_answers_bit_for_bit_as_one_with_a_master(half, fill, tmp_path):
    save_adapter(fill(half, "a"), tmp_path / "a", half, {})
    load_adapter(half, tmp_path / "a", "light")
    load_adapter(half, tmp_path / "a", "exact", keep="float32")
    assert torch.equal(logits(half, "light"), logits(half, "a"))
    assert torch.equal(logits(half, "exact"), logits(half, "a"))


def test_an_adapter_that_is_only_answered_with_is_held_once_in_the_compute_type(half, fill, tmp_path):
    save_adapter(fill(half, "a"), tmp_path / "a", half, {})
    light = load_adapter(half, tmp_path / "a", "light")
    assert light.weights is light.compute and light.weights.dtype == torch.bfloat16
    exact = load_adapter(half, tmp_path / "a", "exact", keep="float32")
    assert torch.equal(exact.weights, half["a"].weights) and exact.weights.dtype == torch.float32


def test_an_adapter_that_is_trained_has_a_float32_master(half, fill, tmp_path):
    save_adapter(fill(half, "a"), tmp_path / "a", half, {})
    light = load_adapter(half, tmp_path / "a", "light")
    before = logits(half, "light")
    half.train("light")
    assert light.weights.dtype == light.grad.dtype == torch.float32
    assert torch.equal(logits(half, "light"), before)
    light.weights.mul_(0.5)
    light.publish()
    assert not torch.equal(logits(half, "light"), before)
