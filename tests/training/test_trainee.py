"""A trainee names, saves and loads itself, whether it is an adapter or the whole backbone."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from multitune.config.schema import RunConfig
from multitune.core.bases import BASE
from multitune.inference.local import LocalModel
from multitune.inference.predict import predict_task
from multitune.model.backbone import load_backbone
from multitune.model.bank import BASE_NUMBER, AdapterBank
from multitune.training.prepare import PreparedRun, prepare_run
from multitune.training.trainee import Trainee, new_trainee
from multitune.training.validation import answered_rows, validation_answers

Configure = Callable[..., RunConfig]


def trainee_of(run: PreparedRun) -> Trainee:
    bank = AdapterBank(load_backbone(run.ref, run.config.device, run.config.dtype))
    return new_trainee(bank, run, run.plans[0].spec)


def shake(trainee: Trainee) -> None:
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for master in trainee.masters():
            master.add_(torch.randn(master.shape, generator=noise) * 0.1)
    trainee.publish()


def test_an_adapter_answers_under_its_own_name_and_the_backbone_as_the_base(configure: Configure) -> None:
    adapter, full = (trainee_of(prepare_run(configure(method=m, adapters="shared"))) for m in ("lora", "full"))
    assert (adapter.subject, adapter.number) == ("shared", 0)
    assert (full.subject, full.number) == (BASE, BASE_NUMBER)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_trainee_goes_back_to_what_it_saved(configure: Configure, tmp_path: Path, method: str) -> None:
    trainee = trainee_of(prepare_run(configure(method=method, adapters="shared")))
    shake(trainee)
    trainee.save(tmp_path / "saved", 3)
    saved = [master.clone() for master in trainee.masters()]
    shake(trainee)
    trainee.load(tmp_path / "saved")
    assert all(torch.equal(one, other) for one, other in zip(saved, trainee.masters(), strict=True))


def test_an_adapter_on_a_parent_takes_back_its_own_weights_alone(configure: Configure, tmp_path: Path) -> None:
    adapters = [{"name": "below"}, {"name": "above", "rank": 2, "alpha": 3, "stack_on": "below"}]
    run = prepare_run(configure(adapters=adapters))
    bank = AdapterBank(load_backbone(run.ref, "cpu", "float32"))
    below, above = (new_trainee(bank, run, plan.spec) for plan in run.plans)
    for trainee in (below, above):
        shake(trainee)
    above.save(tmp_path / "above", 1)
    kept = [trainee.masters()[0].clone() for trainee in (below, above)]
    shake(above)
    above.load(tmp_path / "above")
    assert torch.equal(below.masters()[0], kept[0])
    assert torch.allclose(above.masters()[0], kept[1], rtol=1e-6, atol=0)


def test_answers_on_validation_are_those_of_an_evaluation(configure: Configure) -> None:
    run = prepare_run(configure(adapters="shared"))
    trainee, item = trainee_of(run), run.tasks["colours"]
    shake(trainee)
    model, limit = LocalModel(trainee.bank, "shared", run.chat, run.config), run.config.train.validate_limit
    answers = predict_task(model, item, "validation", seed=run.config.seed, limit=limit)
    assert validation_answers(trainee, run, "colours", answered_rows(run, "colours")) == answers
