"""Arrow: which texts an adapter is for, from its weights alone, without any training of a router."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from multitune.data.control_tokens import TextEncoder
from multitune.model.bank import Adapter, AdapterBank
from multitune.routing.features import FIRST_TOKENS


@torch.no_grad()
def arrow_scores(bank: AdapterBank, names: Sequence[str], tokenizer: Any, texts: Sequence[str]) -> np.ndarray:
    """How strongly each text's activations lie along each adapter's main direction, float64 (text, adapter).

    Per layer the direction is the first right singular vector of B A, and a text scores the mean over its tokens of
    |x · v|, summed over layers. The paper routes token by token; summed over a text, it chooses one adapter.

    Source: Ostapenko et al. 2024, arXiv:2405.11157.
    """
    directions = {name: _directions(bank[name]) for name in names}
    modules = sorted({module for found in directions.values() for module in found})
    columns = {module: _column(module, [directions[name] for name in names]) for module in modules}
    scores = np.zeros((len(texts), len(names)))
    row: list[torch.Tensor] = []
    model = bank.backbone.model
    handles = [
        model.get_submodule(module).register_forward_pre_hook(_listener(columns[module], row)) for module in modules
    ]
    try:
        with bank.use("base"):
            for place, ids in enumerate(TextEncoder(tokenizer).text_ids(texts)):
                if ids:
                    row.clear()
                    first = torch.tensor([ids[:FIRST_TOKENS]], device=bank.backbone.device)
                    model(input_ids=first, use_cache=False)
                    scores[place] = torch.stack(row).sum(0).double().cpu().numpy()
    finally:
        for handle in handles:
            handle.remove()
    return scores


def _listener(directions: torch.Tensor, row: list[torch.Tensor]) -> Any:
    """A hook that adds to `row` what one layer's input has along each direction (adapter, in)."""

    def listen(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0].flatten(0, -2).float()  # (token, in)
        row.append((x @ directions.to(x.device).T).abs().mean(0))

    return listen


def _column(module: str, directions: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
    """The directions in one layer, (adapter, in); zeros for an adapter that leaves the layer alone."""
    nothing = torch.zeros_like(next(found[module] for found in directions if module in found))
    return torch.stack([found.get(module, nothing) for found in directions])


def _directions(adapter: Adapter) -> dict[str, torch.Tensor]:
    """Module -> unit vector (in,) that B A stretches most."""
    found: dict[str, torch.Tensor] = {}
    for module, (a, b) in adapter.tensors().items():
        # B A = B (Rᵀ Qᵀ) with A = Rᵀ Qᵀ: its right singular vectors are Q times those of B Rᵀ, a small matrix.
        q, r = torch.linalg.qr(a.float().T)  # (in, rank), (rank, rank)
        small = torch.linalg.svd(b.float() @ r.T, full_matrices=False).Vh[0]  # (rank,)
        found[module] = q @ small
    return found
