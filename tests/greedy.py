"""The plainest way to decode, against which every faster one is held."""

import numpy as np
import torch

from multitune.model.bank import AdapterBank


def greedy_loop(bank: AdapterBank, adapter: str, prompt: np.ndarray, steps: int, stop: int | None = None) -> list[int]:
    """The likeliest tokens behind a prompt, each by a whole pass of its own, up to `stop`."""
    ids = prompt.tolist()
    with bank.use(adapter) as model, torch.no_grad():
        for _ in range(steps):
            token = int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if token == stop:
                break
            ids.append(token)
    return ids[len(prompt) :]
