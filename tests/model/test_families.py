"""Every family, tiny and random: packs equal rows, adapters learn everywhere, and PEFT reads and writes the same."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from multitune.core.records import Segments
from multitune.inference.generate import GenerateOptions, generate
from multitune.mixture.packing import pack_rows
from multitune.model.backbone import Backbone
from multitune.model.bank import AdapterBank
from multitune.model.files import load_adapter, save_adapter
from multitune.model.targets import FUSED
from multitune.tasks.output_parsing import free_text
from tests.greedy import greedy_loop

# PEFT asks transformers by a name on its way out.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")
SHARING = ["llama3", "mistral", "qwen3", "gemma3", "gemma2", "phi3", "smollm", "gpt_neox", "opt"]
RECURRENT = ["mamba", "recurrent_gemma", "lfm2"]
IDS = torch.arange(20, 44).view(2, 12)
WORST = 1e-4  # of the largest logit


@pytest.fixture(params=SHARING)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def far(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def native_logits(model, tokens: np.ndarray) -> torch.Tensor:
    """Logits (token, vocab) of one row by the family's own eager attention."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(tokens.astype(np.int64))[None], use_cache=False).logits[0]


def worst_row(backbone: Backbone, model, rows) -> float:
    """The largest disagreement between the targets' logits in packs and in rows alone."""
    worst = 0.0
    for pack in pack_rows(rows, 60, backbone.shares_prefixes):
        with torch.no_grad():
            logits, which = backbone.logits(pack)
        for place, index in enumerate(pack.rows):
            segments = rows[index].segments
            expected = native_logits(model, segments.tokens[:-1])[len(segments.prompt) - 1 :]
            found = logits[which[torch.from_numpy(pack.target_row == place)]]
            worst = max(worst, far(found, expected))
    return worst


def test_prefixes_are_shared(wrapped, family):
    backbone = wrapped(family)
    assert backbone.shares_prefixes, backbone.note


def test_logits_of_a_pack_are_those_of_its_rows(wrapped, tiny, draw_rows, family):
    assert worst_row(wrapped(family), tiny(family), draw_rows((-1,))) < WORST


@pytest.mark.parametrize("family", RECURRENT)
def test_a_recurrent_family_falls_back_and_says_so(wrapped, family):
    backbone = wrapped(family)
    assert not backbone.shares_prefixes and "cannot share prefixes" in backbone.note


def test_a_window_that_only_the_mask_knows_is_found_out_though_the_probe_is_shorter(wrapped):
    backbone = wrapped("qwen2_moe")
    assert not backbone.shares_prefixes and "window" in backbone.note


@pytest.mark.parametrize("family", RECURRENT)
def test_the_fallback_is_exact(wrapped, tiny, draw_rows, family):
    assert worst_row(wrapped(family), tiny(family), draw_rows((-1,))) < WORST


def test_every_layer_of_an_adapter_gets_a_gradient(wrapped, fill, draw_rows, family):
    bank = AdapterBank(wrapped(family))
    adapter = fill(bank, "a")
    bank.train("a")
    (pack,) = pack_rows(draw_rows((0,)), 10_000)
    with bank.route(pack.slices, len(pack)):
        bank.backbone.losses(pack).sum().backward()
    silent = [s.module for s in adapter.slots if not all(part.any() for part in s.views(adapter.grad))]
    assert silent == []


@pytest.mark.parametrize("family", [*SHARING, *RECURRENT])
def test_text_behind_a_prompt_is_that_of_a_plain_greedy_loop(wrapped, fill, chat, family):
    bank, random = AdapterBank(wrapped(family)), np.random.default_rng(3)
    fill(bank, "a")
    stem = random.integers(3, 90, 9)  # longer than the windows
    prompts = [np.concatenate([stem, random.integers(3, 90, 1 + 2 * i)]).astype(np.int32) for i in range(5)]
    expected = [
        free_text(chat.tokenizer.decode(greedy_loop(bank, "a", p, 6), skip_special_tokens=True)) for p in prompts
    ]
    rows = [Segments(prompt, prompt[-1:]) for prompt in prompts]
    never_ends = SimpleNamespace(tokenizer=chat.tokenizer, stop_ids=[96], space="")  # no such token
    assert generate(bank, "a", rows, never_ends, GenerateOptions(6, batch_size=3)).texts == expected
    assert len(set(expected)) > 1


def answers(bank: AdapterBank, name: str) -> torch.Tensor:
    with torch.no_grad(), bank.use(name) as model:
        return model(input_ids=IDS, use_cache=False).logits


def test_peft_answers_with_our_adapter_as_we_do(wrapped, tiny, fill, tmp_path: Path, family):
    from peft import PeftModel

    bank = AdapterBank(wrapped(family))
    save_adapter(fill(bank, "a"), tmp_path / "a", bank, {})
    peft = PeftModel.from_pretrained(tiny(family), tmp_path / "a")
    with torch.no_grad():
        assert far(peft(input_ids=IDS, use_cache=False).logits, answers(bank, "a")) < WORST


def test_we_answer_with_pefts_adapter_as_peft_does(wrapped, tiny, tmp_path: Path, family):
    from peft import LoraConfig, get_peft_model

    bank = AdapterBank(wrapped(family))
    config = LoraConfig(
        r=4, lora_alpha=16, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
    )
    peft = get_peft_model(tiny(family), config).eval()
    peft.save_pretrained(tmp_path)
    load_adapter(bank, tmp_path, "a")
    with torch.no_grad():
        assert far(answers(bank, "a"), peft(input_ids=IDS, use_cache=False).logits) < WORST
    assert far(answers(bank, "a"), answers(bank, "base")) > 10 * WORST


def test_the_model_types_whose_fused_layers_peft_refuses_are_those_that_we_leave_out() -> None:
    from peft import LoraConfig
    from peft.tuners.tuners_utils import _check_lora_target_modules_mamba
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    def refused(model_type: str) -> bool:
        model = SimpleNamespace(config=SimpleNamespace(model_type=model_type))
        try:
            _check_lora_target_modules_mamba(LoraConfig(), model, "out_proj")
        except ValueError:
            return True
        return False

    assert sorted(filter(refused, CONFIG_MAPPING_NAMES)) == sorted(FUSED)
