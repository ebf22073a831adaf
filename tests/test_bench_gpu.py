"""`make bench-gpu` runs its parts to the end where there is no GPU, and its laws can fail."""

import pytest
import torch

from benchmarks import gpu, gpu_laws
from benchmarks.gpu_laws import LAWS, TOLERANCE
from multitune.model.quantized import Nf4Weight

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")  # peft asks for it
CPU = torch.device("cpu")


@pytest.mark.parametrize("law", LAWS)
def test_a_law_holds_on_the_cpu(law: str) -> None:
    assert LAWS[law](CPU) <= TOLERANCE


def test_a_layer_computed_again_gives_the_same_bits_on_the_cpu() -> None:
    assert LAWS["recomputed"](CPU) == 0.0


def test_a_law_notices_what_it_is_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nf4Weight, "whole", lambda self: torch.ones(self.shape))
    plain = gpu_laws.hold_in_nf4(gpu_laws.random_llama(CPU))
    rows = gpu_laws.random_rows(4, 1, 12, 512)
    ones = gpu_laws.gradients(gpu_laws.random_bank(plain, 1), [rows])
    monkeypatch.undo()
    whole = gpu_laws.gradients(gpu_laws.random_bank(gpu_laws.hold_in_nf4(gpu_laws.random_llama(CPU)), 1), [rows])
    assert gpu_laws.apart(whole, ones) > TOLERANCE


@pytest.mark.parametrize("kind", ["bfloat16", "nf4"])
def test_the_large_shape_is_tiny_where_there_is_no_gpu(kind: str) -> None:
    found = gpu.measure(kind)
    assert found["multitune"]["rows_per_second"] > 0 and found["memory"]["estimated_gb"] < 1


def test_the_parts_may_take_less_than_nine_minutes() -> None:
    assert sum(gpu.PARTS.values()) < 9 * 60


def test_a_part_that_fails_is_told_and_the_others_go_on() -> None:
    assert "failed" in gpu.part("nothing", 60)
