"""Root-mean-square normalisation in one function, which keeps no float32 copies for the way back."""

from typing import Any

import torch
from torch import nn

TOKENS = 4  # of the probe that a module is compared on


class RootMeanSquare(nn.Module):
    """weight * x / sqrt(mean(x²) + eps), the mean and the root in float32.

    Source: Zhang & Sennrich 2019, arXiv:1910.07467.
    """

    def __init__(self, weight: nn.Parameter, eps: float) -> None:
        super().__init__()
        self.weight = weight  # (width,)
        self.variance_epsilon = eps

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(…, width) to the same."""
        if not torch.is_grad_enabled():
            return _normal(hidden_states, self.variance_epsilon)[0] * self.weight
        return _Normalise.apply(hidden_states, self.weight, self.variance_epsilon)  # pyright: ignore[reportReturnType]


def _normal(x: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """x at root mean square one (…, width) in its own type, and what it was multiplied by (…, 1) in float32."""
    wide = torch.promote_types(x.dtype, torch.float32)
    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
    inverse = size.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return (x.to(wide) * inverse).to(x.dtype), inverse


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        normal, inverse = _normal(x, eps)
        ctx.save_for_backward(normal, weight, inverse)
        return normal * weight

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        normal, weight, inverse = ctx.saved_tensors
        grad = grads[0] * weight
        along = (grad * normal).sum(-1, keepdim=True, dtype=inverse.dtype).div_(normal.shape[-1])
        # Less its part along x: stretching x changes nothing.
        grad_x = torch.addcmul(grad.to(inverse.dtype), normal, along, value=-1).mul_(inverse).to(grad.dtype)
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grads[0] * normal).sum(tuple(range(normal.ndim - 1)), dtype=inverse.dtype).to(weight.dtype)
        return grad_x, grad_weight, None


@torch.no_grad()
def install_norms(model: nn.Module) -> int:
    """Put a RootMeanSquare in the place of every module that computes just that, as a probe shows. Returns how many.

    By probe and not by name: a Gemma's norm has the name and the parts, but adds 1 to its weight.
    """
    found = [(name, module) for name, module in model.named_modules() if type(module).__name__.endswith("RMSNorm")]
    replaced = 0
    for name, module in found:
        weight = getattr(module, "weight", None)
        eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if not isinstance(weight, nn.Parameter) or not isinstance(eps, float) or len(list(module.parameters())) > 1:
            continue
        ours = RootMeanSquare(weight, eps)
        probe = torch.linspace(-2, 3, TOKENS * len(weight), device=weight.device).view(1, TOKENS, -1).to(weight.dtype)
        expected, answer = module(probe), ours(probe)
        # The last bit may differ: a sum of squares in another order.
        if answer.dtype != expected.dtype or not torch.allclose(answer, expected, rtol=2**-7, atol=1e-6):
            continue
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, ours)
        replaced += 1
    return replaced
