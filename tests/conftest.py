"""What all tests share: one thread, no network, a cache of their own, and a tiny random Llama that reads words."""

import json
import os
import signal

# Before any test imports numpy, torch or datasets: they read these once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
# A job in the background of a shell ignores Ctrl-C, and so would the commands that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


from pathlib import Path

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from multitune.core.bases import BaseRef
from multitune.core.seals import unsealed, unsealed_yaml
from multitune.data.tokenizer import ChatFormat
from multitune.model.backbone import wrap_model
from multitune.model.bank import Adapter, AdapterBank

settings.register_profile("house", derandomize=True, deadline=None)
settings.register_profile("long", max_examples=20_000, deadline=None, print_blob=True)  # make fuzz
settings.load_profile(os.environ.get("MULTITUNE_HYPOTHESIS", "house"))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["MULTITUNE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


WORDS = [*(f"w{i}" for i in range(78)), *"0123456789", ",", "ORG", "say", "copy", "red", "blue", "general"]


def tiny_model(seed: int = 3, vocabulary: int = len(WORDS) + 3, positions: int = 256) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=0.4,  # far from uniform, so that answers depend on prompts
        pad_token_id=0,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config)


def word_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<end>", "\n", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="\n"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split(" ", "removed")]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Reads any text: a token for each byte, and for some pairs of JSON."""
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<end>", *sorted(ByteLevel.alphabet())])}
    merges = [("t", "r"), ("u", "e"), ("tr", "ue"), ("{", '"'), ('"', ":"), ("Ġ", "Ġ"), ("Ġ", "w")]
    for first, second in merges:
        vocabulary[first + second] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")


def unseal(folder: Path) -> Path:
    """Make the texts of a run what versions before seals wrote, for a test that edits them; returns the folder."""
    for path in folder.rglob("*"):
        if path.suffix == ".json":
            path.write_text(json.dumps(unsealed(json.loads(path.read_text("utf-8"))), ensure_ascii=False), "utf-8")
        elif path.suffix == ".jsonl":
            rows = (unsealed(json.loads(line)) for line in path.read_text("utf-8").split("\n") if line)
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        elif path.suffix == ".yaml":
            path.write_text(unsealed_yaml(path.read_text("utf-8")), "utf-8")
    return folder


def randomise(adapter: Adapter, seed: int) -> None:
    noise = torch.Generator().manual_seed(seed)
    adapter.weights.copy_(torch.randn(adapter.weights.shape, generator=noise) * 0.3)
    adapter.publish()


@pytest.fixture(scope="session")
def chat() -> ChatFormat:
    return ChatFormat(word_tokenizer())


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base as an ordinary model folder."""
    folder = tmp_path_factory.mktemp("base")
    tiny_model().save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def bank() -> AdapterBank:
    bank = AdapterBank(wrap_model(tiny_model(), BaseRef("tiny", "tiny")))
    for seed, name in enumerate(("first", "second")):
        randomise(bank.create(name, 4, 8.0, "all", seed), seed)
    return bank
