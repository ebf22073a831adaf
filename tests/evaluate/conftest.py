"""A tiny random Llama that reads words, with two adapters that say something else than it does."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from multitune.core.bases import BaseRef
from multitune.data.tokenizer import ChatFormat
from multitune.model.backbone import wrap_model
from multitune.model.bank import AdapterBank

WORDS = [f"w{i}" for i in range(90)]


def tiny_model(seed: int = 3) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS) + 3,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.4,  # far from uniform, so that answers depend on prompts
        pad_token_id=0,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="session")
def chat() -> ChatFormat:
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<end>", "\n", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="\n"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split(" ", "removed")]
    )
    return ChatFormat(PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>"))


@pytest.fixture
def bank() -> AdapterBank:
    bank = AdapterBank(wrap_model(tiny_model(), BaseRef("tiny", "tiny")))
    for seed, name in enumerate(("first", "second")):
        adapter = bank.create(name, 4, 8.0, "all", seed)
        noise = torch.Generator().manual_seed(seed)
        adapter.weights.copy_(torch.randn(adapter.weights.shape, generator=noise) * 0.3)
        adapter.publish()
    return bank
