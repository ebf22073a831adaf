"""The ranks beside rank 0: each prepares the same run, then computes its share of what rank 0 tells, and is silent."""

from collections.abc import Callable, Mapping
from contextlib import suppress

from torch import distributed

from multitune.config.schema import RunConfig
from multitune.training.compute import Part
from multitune.training.messages import AnswersMessage, EndMessage, LossesMessage, Message, StepMessage, TakeMessage
from multitune.training.origin import describe
from multitune.training.prepare import prepare_run
from multitune.training.ranks import Member, PeersFailedError, RanksLostError, claim_device
from multitune.training.signals import stop_on_signal
from multitune.training.trainee import Trainee, new_trainee, open_bank


def work(load: Callable[[], RunConfig]) -> int:
    """Be one of the ranks beside rank 0 until the run ends.

    Args:
        load: reads the run file.

    Returns:
        The exit code of the process; rank 0 says what went wrong.

    Raises:
        RankError: rank 0 cannot be reached.
    """
    member = Member()
    try:
        config = load()
        if not isinstance(member.listen(), EndMessage):
            _serve(member, config)
    except RanksLostError:
        return 1
    except Exception as error:
        member.note_fault(error)
        while not isinstance(member.listen(), EndMessage):  # a launcher ends all ranks with the first that leaves
            pass
        return 1
    finally:
        member.leave()
    return 0


def _serve(member: Member, config: RunConfig) -> None:
    device = claim_device(config.device)
    run = prepare_run(config)
    bank = open_bank(run)
    trainees = {plan.spec.name: new_trainee(bank, run, plan.spec) for plan in run.plans}
    member.report(describe(run, bank.backbone))
    if isinstance(member.listen(), EndMessage):
        return
    with stop_on_signal(member.asked_to_stop):
        member.connect(device)
        part = Part(member, bank, run)
        while not isinstance(message := member.listen(), EndMessage):
            with suppress(PeersFailedError):
                _act(part, message, trainees)
        distributed.destroy_process_group()


def _act(part: Part, message: Message, trainees: Mapping[str, Trainee]) -> None:
    match message:
        case TakeMessage():
            part.take([trainees[name] for name in message.trainees])
        case StepMessage():
            part.step(message, [trainees[name] for name in message.trainees])
        case LossesMessage():
            part.losses(trainees[message.trainee], message.task)
        case AnswersMessage():
            part.answers(trainees[message.trainee], message.task)
        case _:
            raise AssertionError(f"{message.kind} has no place here")
