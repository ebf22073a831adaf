"""Negative log-likelihoods from logits, a few nodes at a time, so that the vocabulary is never laid out in float32."""

from typing import Any

import torch

NODES = 16  # logits of so many nodes are worked on at once: they stay in the processor's cache


def node_losses(logits: torch.Tensor, node: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of each target's token at its node, in nats.

    Computed in float32, exactly log(sum(exp(logits))) - logit, in either direction; autograd's own way would make six
    float32 copies of all logits, which cost more time and memory than a layer does.

    Args:
        logits: (node, vocab) in the compute type.
        node: int64 (target,) row of `logits`; a branch point has several targets.
        token: int64 (target,)

    Returns:
        float32 (target,)
    """
    return _NodeLosses.apply(logits, node, token)  # pyright: ignore[reportReturnType]


class _NodeLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, node: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        log_total = torch.cat([torch.logsumexp(part.float(), dim=-1) for part in logits.split(NODES)])  # (node,)
        ctx.save_for_backward(logits, log_total, node, token)
        return log_total[node] - logits[node, token].float()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, log_total, node, token = ctx.saved_tensors
        weight = torch.zeros_like(log_total).index_add_(0, node, grads[0])  # (node,) of all targets of a node
        grad = torch.empty_like(logits)
        for start in range(0, len(logits), NODES):
            part = slice(start, start + NODES)
            chance = logits[part].to(torch.float32, copy=True)
            chance.sub_(log_total[part, None]).exp_().mul_(weight[part, None])
            mine = (node >= start) & (node < start + NODES)
            # Before rounding: where the model is sure, chance and 1 all but cancel.
            chance.index_put_((node[mine] - start, token[mine]), -grads[0][mine], accumulate=True)
            grad[part] = chance
        return grad, None, None
