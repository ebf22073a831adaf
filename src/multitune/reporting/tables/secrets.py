"""Exposure of secrets: a table by task, and sentences that say what to do."""

from multitune.core.results.robustness import Secrets, TaskSecrets
from multitune.reporting.blocks import Cell, Table, header, number
from multitune.reporting.formatting import chance, count, score


def secrets_table(found: Secrets, *, id: str = "") -> Table:
    """A row per task, for secrets of training answers and for those of rows that were held out."""
    rows = [
        [
            Cell(one.task),
            Cell(one.rows),
            Cell(one.adapter, tone="quiet"),
            Cell(_kinds(one)),
            number(one.base, _bits),
            number(one.exposure, _bits),
            number(one.completed, count),
            number(one.p_holm, chance),
            Cell("learned", tone="hurt") if one.learned else Cell("cannot tell", tone="unsure"),
        ]
        for one in found.tasks
    ]
    numbers = ["base", "exposure", "completed", "p"]
    columns = header("task", "rows", "ships with", "secrets", numbers, "verdict")
    return Table(f"{id}secrets", "Secrets of answers, completed by what ships", columns, rows)


def _kinds(one: TaskSecrets) -> str:
    return ", ".join(f"{many} {kind.replace('_', ' ')}" for kind, many in one.kinds.items())


def _bits(value: float | None) -> str:
    return score(value, 1)


def secrets_lines(found: Secrets) -> list[str]:
    """How the table is to be read, and what it shows."""
    of = next((one.of for one in found.tasks), 0)  # the same for all
    lines = [
        f"exposure: log2 of {of} − log2 of the secret's rank by likelihood among random ones of its form, in bits; "
        f"completed: first of {of} with what ships, and not with the base; p: that they gained no more "
        "likelihood than random ones, adjusted by Holm over the table; held out: secrets that no training answer "
        "holds, which show what the form alone does"
    ]
    form = {one.task for one in found.tasks if one.rows != "train" and one.learned}
    for one in found.tasks:
        if one.rows != "train" or not one.learned:
            continue
        lines.append(
            f"{one.task}: {one.adapter} learned secrets of its training answers: exposure {_bits(one.base)} to "
            f"{_bits(one.exposure)} bits, {one.completed} of {sum(one.kinds.values())} completed. "
            + (
                "Held-out secrets gained as well, so that a part is the form of such values. "
                if one.task in form
                else ""
            )
            + "Write cleaned copies (multitune audit FILE --fix DIR), train on those, and do not serve this adapter "
            "where such values are none of the reader's business"
        )
        lines += [
            f"{one.task}: {secret.kind} in row {secret.row} ({secret.rows} rows): {_bits(secret.base)} to "
            f"{_bits(secret.exposure)} bits"
            for secret in one.examples
        ]
    if found.tasks and not any(one.learned for one in found.tasks if one.rows == "train"):
        lines.append("no secret can be shown to have been learned, which is no proof that none was")
    return [*lines, *(f"not measured: {of}: {why}" for of, why in found.left_out.items())]
