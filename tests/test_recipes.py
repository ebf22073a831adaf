"""Recipes: every file of examples loads, is checked where its rows are here, and its page names what exists."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from multitune.config.load import load_config
from multitune.config.study import load_study
from multitune.core.bases import resolve_base
from multitune.core.records import SPLITS
from multitune.data.tokenizer import load_tokenizer
from multitune.model.memory import memory_parts, trainable
from multitune.model.shape import model_shape
from multitune.planning import check_run
from multitune.study.study import plan_report
from multitune.training.memory import memory_demand, recomputed_layers, step_costs
from multitune.training.prepare import prepare_run
from scripts import commands

EXAMPLES = Path(__file__).parent.parent / "examples"
BASES = Path(__file__).parent / "bases"
FILES = sorted(path for path in EXAMPLES.glob("*/*.yaml") if path.parent.name not in ("launch", "serving"))
STUDIES = [path for path in FILES if "search" in yaml.safe_load(path.read_text("utf-8"))]
ROOT = EXAMPLES.parent
PAGES = sorted([*EXAMPLES.glob("*/README.md"), *EXAMPLES.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "README.md"])
CARD = EXAMPLES / "consumer-card" / "card.yaml"
# Sizes that the makers publish, for configs that hold sizes alone.
PARAMETERS = {
    "Meta-Llama-3-8B-Instruct": 8_030_261_248,
    "Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "Qwen2.5-7B-Instruct": 7_615_616_512,
}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_file_of_the_examples_loads(path: Path) -> None:
    run = load_study(path)[1] if path in STUDIES else load_config(path)
    assert run.tasks


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_a_page_names_verbs_options_and_files_that_exist(path: Path) -> None:
    known = {name: {o for one in command.params for o in one.opts} for name, command in commands.verbs()}
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    blocks = "".join(text for language, text in fenced if not language)
    lines = re.findall(r"^(multitune .+)$", blocks.replace("\\\n", " "), re.MULTILINE)
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        verb = " ".join(words[:2]) if words[0] == "runs" else words[0]
        assert {word for word in words if word.startswith("--")} <= known[verb], line
        files = [word for word in words if word.startswith("examples/")]
        assert [file for file in files if not (ROOT / file).is_file()] == []


def test_llms_txt_leads_to_files_that_exist() -> None:
    text = (ROOT / "llms.txt").read_text("utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert text.startswith("# multitune\n\n> ") and len(links) > 10
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_every_question_of_the_faq_that_others_asked_names_a_thread() -> None:
    parts = (ROOT / "docs" / "faq.md").read_text("utf-8").split("\n## ")[1:]
    asked = [part for part in parts if "\nAsked in " in part]
    assert len(asked) == 6
    assert all(re.search(r"https://github\.com/[\w-]+/[\w.-]+/(issues|pull)/\d+", part) for part in asked)


def test_every_folder_of_the_examples_is_in_the_list() -> None:
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert {name for name in folders if f"({name}" not in listed} == set()


def test_every_folder_of_the_examples_has_a_page_that_names_its_files() -> None:
    for folder in (path for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "__pycache__"):
        text = (folder / "README.md").read_text("utf-8")
        recipes = [one.name for one in folder.glob("*.y*ml")]
        assert text.startswith("# ") and [name for name in recipes if name not in text] == [], folder.name


@pytest.fixture(params=sorted(PARAMETERS))
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A base of which only config and tokenizer are here; the tokenizer is that of SmolLM2."""
    folder = tmp_path / request.param
    folder.mkdir()
    shutil.copy(BASES / f"{request.param}.json", folder / "config.json")
    load_tokenizer(resolve_base("smollm2-135m")).save_pretrained(folder)
    return folder


def test_a_base_of_the_card_has_the_parameters_that_its_makers_publish(base: Path) -> None:
    assert model_shape(resolve_base(str(base)), "all").parameters == PARAMETERS[base.name]


def test_the_card_holds_each_base_with_all_adapters(base: Path) -> None:
    found: list[str] = []
    for kind, most in (("nf4", 10e9), ("int8", 14e9), ("null", 21e9)):
        config = load_config(CARD, [f"base={base}", f"quantization={kind}"])
        prepared = prepare_run(config)
        shape = model_shape(prepared.ref, config.lora.targets, config.quantization)
        demand = memory_demand(prepared, step_costs(prepared, config.train.pack_tokens))
        again = recomputed_layers(prepared, shape, demand)
        need = memory_parts(shape, demand, torch.device("cuda"), torch.bfloat16, again).total
        assert need < most
        found.append(f"{need / 1e9:.1f} GB")
    (row,) = [line for line in page(CARD).splitlines() if line.endswith(f"| {' | '.join(found)} |")]
    assert f"{shape.parameters / 1e9:.2f} billion" in row
    assert f"{trainable(shape, demand) / 1e6:.0f} million" in row


def page(path: Path) -> str:
    return (path.parent / "README.md").read_text("utf-8")


def test_the_card_is_checked_on_this_machine_without_its_weights(base: Path) -> None:
    report = check_run(load_config(CARD, [f"base={base}", "device=cpu"]))
    assert report.estimate.parameters == PARAMETERS[base.name]
    assert {one.name: one.rows["train"] for one in report.sets} == {"cards": 216, "transfers": 216, "analysis": 210}
    assert [adapter.name for adapter in report.adapters] == ["shared", "cards", "transfers", "analysis"]


def test_the_students_templates_read_the_columns_of_their_sets(tmp_path: Path) -> None:
    columns = {
        "sst": lambda i: {"text": f"film {i}", "label": len(i) % 5},
        "qqp": lambda i: {"question1": f"why {i}", "question2": f"how {i}", "label": len(i) % 2},
        "sts-b": lambda i: {"sentence1": f"one {i}", "sentence2": f"two {i}", "label": len(i) % 6 * 0.83},
    }
    changes: list[str] = []
    for name, row in columns.items():
        for split in SPLITS:
            path = tmp_path / name / f"{split}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps(row(f"{split} {10**i}")) + "\n" for i in range(20)), "utf-8")
        changes.append(f"tasks.{name}.data={tmp_path / name}")
    report = check_run(load_config(EXAMPLES / "student" / "student.yaml", [*changes, "audit=off"]))
    assert [(one.name, one.kind, one.metric) for one in report.sets] == [
        ("sst", "classify", "accuracy"),
        ("qqp", "classify", "accuracy"),
        ("sts-b", "regress", "pearson"),
    ]


def test_the_study_spends_no_more_than_its_budget() -> None:
    study, run = load_study(EXAMPLES / "study" / "study.yaml")
    plan = plan_report(study, run)
    assert study.budget.share and len(run.tasks) == 4
    assert sum(part.tokens or 0.0 for part in plan.parts) <= study.budget.share * plan.everything_tokens + 1.0


def test_the_new_domain_is_one_task_that_the_team_has_not() -> None:
    team, joins = (load_config(EXAMPLES / name) for name in ("team/team.yaml", "new-domain/entities.yaml"))
    (task,) = joins.tasks
    assert task.name not in {other.name for other in team.tasks}
    assert joins.model_fields_set.isdisjoint({"base", "lora", "train"})
    rows = prepare_run(joins).tasks[task.name].data.examples
    assert [len(rows[split]) for split in SPLITS] == [200, 50, 100]
