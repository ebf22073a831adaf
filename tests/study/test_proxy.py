"""A cut model on cached states is the whole model with adapters on its upper layers alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from multitune.core.records import PackRow
from multitune.model.backbone import load_backbone
from multitune.model.bank import AdapterBank
from multitune.study.proxy import PrefixTrie, cut_run
from multitune.study.study import open_runner
from multitune.training.loss import pack_loss
from tests.study.conftest import Study


def test_rows_share_the_numbers_of_the_prefixes_they_share() -> None:
    trie = PrefixTrie()
    a, b, c = (trie.path(np.array(row)) for row in ([5, 6, 7], [5, 6, 8], [6, 6, 7]))
    assert (a[:2] == b[:2]).all() and a[2] != b[2] and not set(a) & set(c)
    assert [trie.last_token[i] for i in b] == [5, 6, 8]


def test_losses_and_gradients_of_the_upper_layers_are_those_of_the_whole_model(study: Study) -> None:
    settings, run = study()
    runner = open_runner(settings, run)
    whole = load_backbone(runner.prepared.ref, "cpu", "float32")
    paths, cut = cut_run(runner.prepared, load_backbone(runner.prepared.ref, "cpu", "float32"), upper=0.5)
    rows = [runner.prepared.tasks["first"].tokens["train"][i] for i in range(6)]
    parts = [paths.tasks["first"].tokens["train"][i] for i in range(6)]
    grads: list[torch.Tensor] = []
    losses: list[np.ndarray] = []
    for backbone, segments, target in (
        (whole, rows, "layers.1.self_attn.q_proj"),
        (cut, parts, "layers.0.self_attn.q_proj"),
    ):
        bank = AdapterBank(backbone)
        bank.create("a", 4, 8, [target], seed=1)
        noise = torch.Generator().manual_seed(2)
        bank["a"].weights.copy_(torch.randn(bank["a"].weights.shape, generator=noise) * 0.3)
        bank["a"].publish()
        bank.train("a")
        (pack,) = backbone.pack([PackRow(s, adapter=0, task=0) for s in segments], 1 << 20)
        loss = pack_loss(bank, pack)
        loss.total.backward()
        losses.append(loss.row_sum[np.argsort(pack.rows)])
        assert bank["a"].grad is not None
        grads.append(bank["a"].grad.clone())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert torch.allclose(grads[0], grads[1], atol=1e-4 * float(grads[0].abs().max()))


def test_the_whole_model_is_left_as_it_was(study: Study) -> None:
    settings, run = study()
    runner = open_runner(settings, run)
    backbone = load_backbone(runner.prepared.ref, "cpu", "float32")
    before = backbone.fingerprint
    _, cut = cut_run(runner.prepared, backbone)
    assert backbone.fingerprint == before
    assert cut.parameters < 10 * backbone.parameters
    assert len(cut.model.get_decoder().layers) < len(backbone.model.get_decoder().layers)
    assert replace(cut) == cut
