"""The frozen (or fully trained) language model: loaded from any base, run over packs, checked once for exactness."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from multitune.core.bases import NO_CODE, BaseRef
from multitune.core.errors import ModelError
from multitune.core.records import Pack, PackRow, Segments
from multitune.core.seeds import generator
from multitune.mixture.packing import pack_rows
from multitune.model import attention
from multitune.model.device import Device, Dtype, pick_device, pick_dtype
from multitune.model.fingerprint import digest_of, first_values
from multitune.model.gguf import dequantized_folder
from multitune.model.likelihood import node_losses
from multitune.model.lora import Routes
from multitune.model.norm import install_norms
from multitune.model.quantized import Quantization, functional, quantized_weights, require_unquantized

_log = logging.getLogger(__name__)

# The disagreement, relative to the spread of the logits, up to which two orders of the same sums count as equal.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6, torch.float16: 0.02, torch.bfloat16: 0.1}
# The same where only tokens changed that should not be seen: the order of the sums is then the same.
LEAK = {torch.float32: 1e-4, torch.float64: 1e-6, torch.float16: 0.002, torch.bfloat16: 0.01}
# Kernels are compiled, and their memory kept, once per shape: slices and predicting nodes come in multiples of these.
ALIGN, NODES = 64, 32
WIDTH = 64  # rows that are padded one by one get a multiple of this, so that a row's width is its own
STEM, TAIL = 9, 7  # tokens that the rows of the probe share, and tokens of each row alone


@dataclass(slots=True)
class Backbone:
    """A causal language model, where it computes, and whether packs may share prefixes."""

    model: Any  # a transformers PreTrainedModel; its class differs by base
    ref: BaseRef
    device: torch.device
    dtype: torch.dtype
    shares_prefixes: bool = True
    note: str = ""  # why prefixes are not shared, for the user
    routes: Routes = field(default_factory=Routes)  # which adapter acts where in the next forward pass

    @property
    def fingerprint(self) -> str:
        """Identity of the base: its shape and a sample of its weights, the same however they are stored."""
        whole = dict(self.model.named_parameters())
        quantized = quantized_weights(self.model)
        shapes = {name: tuple(weight.shape) for name, weight in {**whole, **quantized}.items()}
        firsts = {name: first_values(weight) for name, weight in whole.items()}
        firsts |= {name: weight.first_values for name, weight in quantized.items()}
        return digest_of(type(self.model).__name__, shapes, firsts)

    @property
    def longest(self) -> int | None:
        """Most tokens that it was made to read; None where its config does not say."""
        return int(getattr(self.model.config, "max_position_embeddings", 0) or 0) or None

    @property
    def parameters(self) -> int:
        """How many weights the base has."""
        whole = sum(weight.numel() for weight in self.model.parameters())
        return whole + sum(weight.shape.numel() for weight in quantized_weights(self.model).values())

    def pack(self, rows: Sequence[PackRow], pack_tokens: int) -> list[Pack]:
        """Rows laid out as this model computes them best: as tries where it can, in shapes that repeat."""
        if self.shares_prefixes:
            return pack_rows(rows, pack_tokens, align=ALIGN)
        return pack_rows(rows, pack_tokens, share=False)

    def logits(self, pack: Pack) -> tuple[torch.Tensor, torch.Tensor]:
        """`read`, with logits in float32."""
        logits, which = self.read(pack)
        return logits.float(), which

    def losses(self, pack: Pack, *, batch_invariant: bool = False) -> torch.Tensor:
        """Negative log-likelihood of each target in nats, float32 (target,); see `read`."""
        logits, which = self.read(pack, batch_invariant=batch_invariant)
        return node_losses(logits, which, torch.from_numpy(pack.target_token).to(self.device))

    def read(
        self, pack: Pack, cache: Any = None, *, batch_invariant: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits where something is predicted, and for each target the row of those logits.

        Args:
            pack: made by `pack`.
            cache: a transformers Cache to keep the keys and values of the pack's tokens, where prefixes are shared.
            batch_invariant: a row's logits are the same, bit for bit, whatever else the pack holds; not for training.

        Returns:
            logits (node, vocab) in the compute type, and int64 (target,) that picks a node for each of the targets.
        """
        nodes, which = np.unique(pack.target_node, return_inverse=True)
        nodes = np.pad(nodes, (0, -len(nodes) % NODES), mode="edge")
        picked = torch.from_numpy(which.reshape(-1)).to(self.device)
        if self.shares_prefixes:
            plan = attention.TrieAttention.by_path if batch_invariant else attention.TrieAttention.of
            return self._trie_logits(pack.tokens, pack.position, plan(pack, self.device), cache, nodes), picked
        if batch_invariant:
            return self._row_logits_by_width(pack, nodes), picked
        return self._row_logits(pack, np.arange(len(pack)))[torch.from_numpy(nodes).to(self.device)], picked

    def follow(self, tokens: Sequence[int], paths: Sequence[np.ndarray], cache: Any) -> torch.Tensor:
        """Logits behind one more token of each row, (row, vocab); see `extend`."""
        return self.extend([np.array([token]) for token in tokens], paths, cache, np.arange(len(paths)))

    def extend(
        self, tokens: Sequence[np.ndarray], paths: Sequence[np.ndarray], cache: Any, nodes: np.ndarray
    ) -> torch.Tensor:
        """Logits behind more tokens of each row, (node, vocab); a row's are the same in any batch.

        Args:
            tokens: the new ones of each row; their keys and values go to `cache` in this order.
            paths: int64 (token,) where all tokens of a row lie in `cache` then, the new ones last.
            cache: as `read` has left it, or a SlotCache.
            nodes: int64 (node,) which of the new tokens, one row behind the other, to give logits of.
        """
        new = [len(row) for row in tokens]
        position = np.concatenate([np.arange(len(path))[-n:] for path, n in zip(paths, new, strict=True)])
        plan = attention.TrieAttention.behind(paths, new, self.device)
        return self._trie_logits(np.concatenate(tokens), position, plan, cache, nodes)

    def _trie_logits(
        self,
        tokens: np.ndarray,
        position: np.ndarray,
        trie: attention.TrieAttention,
        cache: Any,
        nodes: np.ndarray,
    ) -> torch.Tensor:
        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array).to(self.device)

        # A mask of four dimensions keeps transformers from building its own; ours travels in `trie`.
        unused = torch.zeros((1, 1, 1, 1), dtype=self.dtype, device=self.device)
        output = self.model(
            input_ids=tensor(tokens)[None],
            position_ids=tensor(position)[None],
            attention_mask=unused,
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=tensor(nodes),
            trie=trie,
        )
        return output.logits[0]  # (node, vocab)

    def _row_logits(self, pack: Pack, tokens: np.ndarray, width: int | None = None) -> torch.Tensor:
        """The same for models that tries cannot serve: rows side by side, padded on the right, one mask each.

        Args:
            pack: made with share=False.
            tokens: of whole rows.
            width: of the padded rows, if not that of the longest.

        Returns:
            (token of `tokens`, vocab)
        """
        assert len(pack) == pack.logical_tokens, "a pack for this model must be made with share=False"
        starts = tokens[pack.position[tokens] == 0]
        lengths = np.diff(np.append(np.searchsorted(tokens, starts), len(tokens)))
        column = torch.arange(width or int(lengths.max()), device=self.device)
        mask = column < torch.from_numpy(lengths).to(self.device)[:, None]  # (row, column)
        ids = torch.zeros(mask.shape, dtype=torch.int64, device=self.device)
        ids[mask] = torch.from_numpy(pack.tokens[tokens]).to(self.device)
        with self.routes.by_row(starts, len(pack)):  # padding moves the tokens, but a row stays one adapter's
            output = self.model(input_ids=ids, attention_mask=mask.long(), use_cache=False)
        return output.logits[mask]

    def _row_logits_by_width(self, pack: Pack, nodes: np.ndarray) -> torch.Tensor:
        """Logits of some nodes, (node, vocab), each row padded to a width that depends on its length alone."""
        row = np.cumsum(pack.position == 0) - 1  # (token,)
        widths = padded_width(np.bincount(row))  # (row,)
        parts: list[torch.Tensor] = []
        order: list[np.ndarray] = []
        for width in np.unique(widths[row[nodes]]).tolist():
            tokens = np.flatnonzero(widths[row] == width)
            wanted = np.flatnonzero(widths[row[nodes]] == width)
            places = torch.from_numpy(np.searchsorted(tokens, nodes[wanted])).to(self.device)
            parts.append(self._row_logits(pack, tokens, width)[places])
            order.append(wanted)
        return torch.cat(parts)[torch.from_numpy(np.argsort(np.concatenate(order))).to(self.device)]


def load_backbone(
    ref: BaseRef, device: Device = "auto", dtype: Dtype = "auto", quantization: Quantization | None = None
) -> Backbone:
    """Load a base for training or scoring; all its weights are frozen.

    Args:
        ref: the base.
        device: where it computes.
        dtype: in which type.
        quantization: how the weights of its linear layers are stored; in `dtype` when None.

    Raises:
        ModelError: not found, damaged, not a causal language model, or quantized already.
        MissingExtraError: a quantized base needs a package that is not installed.
    """
    where = pick_device(device)
    if quantization:
        functional()  # a missing package is told before anything is loaded
    compute = pick_dtype(dtype, where)
    location = dequantized_folder(ref) if ref.gguf else ref.location
    _log.info("loading base %s from %s on %s in %s", ref.name, location, where, str(compute).removeprefix("torch."))
    try:
        model, missing = _load(location, compute, where, quantization)
    except ModelError:
        raise
    except Exception as error:  # a damaged file makes the readers below raise anything, struct.error included
        first_line = str(error).strip().split("\n")[0].rstrip(".:")
        raise ModelError(
            f"base: {ref.name!r} could not be loaded as a causal language model: {first_line}. "
            "Give a hub id, a folder with config.json and safetensors, a .gguf file, or a built-in alias"
        ) from error
    if missing:
        raise ModelError(
            f"base: {ref.name!r} is not a whole causal language model: it has no {missing[0]} "
            f"({len(missing)} weights missing), which would be random. Give a base with its language head"
        )
    return wrap_model(model.to(where), ref)


def _load(
    location: str, dtype: torch.dtype, device: torch.device, quantization: Quantization | None
) -> tuple[Any, list[str]]:
    """The model in a folder or on the hub, and the names of weights that it lacks."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(location, **NO_CODE)
    # Half of such a model would load without an error.
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError("it is an encoder-decoder model, not a causal language model")
    require_unquantized(location, config, quantization)
    options: dict[str, Any] = {"dtype": dtype, "output_loading_info": True, **NO_CODE}
    auto: Any = AutoModelForCausalLM  # its type does not know of the pair that comes back
    if quantization is None:
        model, found = auto.from_pretrained(location, **options)
    else:
        from multitune.model.quantized_loading import OnLoad

        how = OnLoad(quantization, device)
        try:
            model, found = auto.from_pretrained(location, quantization_config=how, **options)
        except RuntimeError as error:
            raise how.fault or error from None
    return model, sorted(found["missing_keys"])


def wrap_model(model: Any, ref: BaseRef) -> Backbone:
    """A Backbone around a loaded model, with prefix sharing switched on if this model proves it exact.

    Raises:
        ModelError: a token sees the tokens behind it, or quantized layers are not read as layers.
    """
    model.requires_grad_(False)
    model.eval()  # dropout would make a shared prefix mean another thing in every row
    backbone = Backbone(model, ref, model.device, model.dtype)
    native = model.config._attn_implementation
    try:
        expected = _native_logits(backbone)
    except (AttributeError, TypeError, RuntimeError) as error:
        if not quantized_weights(model):
            raise
        raise ModelError(
            f"quantization: {type(model).__name__} cannot compute with quantized layers ({error}); it may read their "
            "weights past them. Remove `quantization`"
        ) from error
    install_norms(model)
    _compact_head_input(model)
    ahead = _disagreement(expected[1:, :STEM], expected[:1, :STEM].expand(2, -1, -1))
    if ahead > LEAK[backbone.dtype]:
        raise ModelError(
            f"base: {ref.name!r} is not a causal language model: {type(model).__name__} reads the tokens behind a "
            "token, so it cannot be trained to predict the next one. Give a decoder, such as a Llama or Qwen"
        )
    try:
        model.set_attn_implementation(attention.NAME)
        fault = _sharing_fault(backbone, expected[:, STEM - 1 :])
    except Exception as error:  # a model of another architecture may fail on a pack in any way
        fault = f"{type(error).__name__}: {error}".strip().split("\n")[0]
    if fault:
        model.set_attn_implementation(native)
        backbone.shares_prefixes = False
        backbone.note = (
            f"{type(model).__name__} cannot share prefixes ({fault}); each row is computed in full: exact, but slower"
        )
        _log.warning(backbone.note)
    return backbone


def _compact_head_input(model: Any) -> None:
    """Hand the language head compact rows: for strided ones, which `generate` cuts, PyTorch copies it once a row."""
    head = model.get_output_embeddings()
    if head is not None:
        head.register_forward_pre_hook(lambda _, inputs: tuple(value.contiguous() for value in inputs))


def _sharing_fault(backbone: Backbone, expected: torch.Tensor) -> str:
    """What is wrong with the logits of a pack with branches; empty if they are those of its rows alone."""
    found = _trie_probe(backbone, seed=1)
    apart = _disagreement(found, expected)
    if not apart <= TOLERANCE[backbone.dtype]:  # NaN counts as a disagreement
        return f"outputs differ by {apart:.2g} of their spread"
    # Half precision hides a small leak between rows, such as a convolution's, behind rounding; this does not.
    leak = _disagreement(_trie_probe(backbone, seed=2)[1:], found[1:])
    return "" if leak <= LEAK[backbone.dtype] else f"a row sees the one before it: {leak:.2g} of the outputs' spread"


def _probe_tokens(backbone: Backbone, seed: int) -> np.ndarray:
    """Three rows with one stem, int64 (3, STEM + TAIL); only what the first says behind the stem follows `seed`."""
    vocab = int(backbone.model.config.get_text_config().vocab_size)
    fixed, varied = generator(0, "probe"), generator(seed, "probe", "varied")
    stem, tails = fixed.integers(4, vocab, STEM), fixed.integers(4, vocab, (3, TAIL))
    tails[0] = [3, *varied.integers(4, vocab, TAIL - 1)]  # the packer lays the smallest first
    return np.concatenate([np.tile(stem, (3, 1)), tails], axis=1)


@torch.no_grad()
def _native_logits(backbone: Backbone) -> torch.Tensor:
    """Logits of the probe's rows by the model's own attention, float32 (3, STEM + TAIL - 1, vocab)."""
    backbone.model.set_attn_implementation("eager")
    ids = torch.from_numpy(_probe_tokens(backbone, seed=1)[:, :-1]).to(backbone.device)
    return backbone.model(input_ids=ids, use_cache=False).logits.float()


@torch.no_grad()
def _trie_probe(backbone: Backbone, seed: int) -> torch.Tensor:
    """Logits from the branch point on, of the probe's rows as one pack, float32 (3, TAIL, vocab)."""
    tokens = _probe_tokens(backbone, seed).astype(np.int32)
    pack = pack_rows([PackRow(Segments(row[:STEM], row[STEM:]), adapter=0, task=0) for row in tokens], 1 << 20)[0]
    logits, which = backbone.logits(pack)
    # The packer sorts the rows; put the targets back into the order they were given in.
    order = np.argsort(np.asarray(pack.rows)[pack.target_row], kind="stable")
    return logits[which][torch.from_numpy(order).to(backbone.device)].view(3, TAIL, -1)


def _disagreement(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Root mean square of the difference, in units of the expected values' standard deviation."""
    return float((found - expected).square().mean().sqrt() / expected.std().clamp_min(1e-12))


def padded_width(lengths: np.ndarray) -> np.ndarray:
    """Columns that rows of so many tokens are padded to where neighbours must not matter."""
    return -(-lengths // WIDTH) * WIDTH
