"""Metrics, schedules and routers of other packages: found by entry point, used like our own, and blamed by name."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from multitune.cli.main import app
from multitune.config.load import config_schema
from multitune.config.schema import MixtureConfig, TaskConfig
from multitune.core import plugins
from multitune.core.errors import ConfigError, PluginError, RouterError, TaskError
from multitune.core.run_folder import RunFolder
from multitune.core.versions import versions
from multitune.mixture import schedules
from multitune.mixture.schedules import shares_at
from multitune.routing import classifiers
from multitune.routing.router import RouterRows, fit_router, load_router
from multitune.tasks import metrics
from multitune.tasks.metrics import metric_for

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"
Install = Callable[..., None]

ROUTER = """
import numpy as np
from multitune.routing.classifiers import Reading

class Nearest:
    kind = "nearest"
    def __init__(self, tasks, means):
        self.tasks, self.means = tasks, means
    def read(self, features):
        scores = -((features[:, None] - self.means) ** 2).sum(-1).astype(np.float64)
        return Reading(scores, scores.max(1))
    def without(self, task):
        kept = [i for i, name in enumerate(self.tasks) if name != task]
        return Nearest([self.tasks[i] for i in kept], self.means[kept])
    def state(self):
        return {"means": self.means}
    def names(self):
        return self.tasks

def fit(train, general):
    means = [np.concatenate(list(views.values())).mean(0) for views in train.values()]
    return Nearest(list(train), np.stack(means).astype(np.float32))

def open(names, arrays):
    return Nearest(names, arrays["means"])
"""


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What was found of plugins is looked up anew in every test."""
    kept = plugins.load_plugin, metrics._plugin, schedules._plugin, classifiers._plugin
    for function in kept:
        function.cache_clear()
    yield
    for function in kept:
        function.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package beside the others as pip would: its entry points in a .dist-info, its code on the path."""

    def installed(
        name: str, entry_points: Mapping[str, Mapping[str, str]], code: str | Path, version: str = "0.1.0"
    ) -> None:
        site = tmp_path / f"site-{name}"
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
        groups = [
            "\n".join([f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())])
            for group, entries in entry_points.items()
        ]
        (info / "entry_points.txt").write_text("\n".join(groups) + "\n", "utf-8")
        monkeypatch.syspath_prepend(str(site))
        if isinstance(code, Path):
            monkeypatch.syspath_prepend(str(code))
        else:
            (site / f"{name.replace('-', '_')}.py").write_text(code, "utf-8")

    return installed


@pytest.fixture
def example(install: Install) -> None:
    """The package of examples/plugin."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))["project"]
    install(project["name"], project["entry-points"], EXAMPLE, project["version"])


def task(**fields: Any) -> TaskConfig:
    texts = {"name": "t", "data": {"train": "rows"}, "prompt": "{{ a }}", "answer": "{{ b }}", "kind": "generate"}
    return TaskConfig.model_validate({**texts, **fields})


@pytest.mark.usefixtures("example")
def test_a_run_can_use_the_example(run_fields: dict[str, Any], tmp_path: Path) -> None:
    first, second = run_fields["tasks"]
    fields = {
        **run_fields,
        "tasks": [first, {**second, "metric": "word_f1"}],
        "mixture": {"schedule": "small_first"},
        "adapters": "shared",
        "output": str(tmp_path / "runs"),
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(fields), "utf-8")
    done = CliRunner().invoke(app, ["train", str(tmp_path / "run.yaml")], catch_exceptions=False)
    assert done.exit_code == 0 and "word_f1" in done.output
    assert "multitune-example" in RunFolder(tmp_path / "runs" / "tiny").versions.read_text("utf-8")


@pytest.mark.usefixtures("example")
def test_a_metric_of_a_package_is_suggested_to_tasks_that_it_suits() -> None:
    assert metric_for(task(metric="word_f1")).corpus(["a b", None], ["b a c", "d"]) == pytest.approx(0.4)
    with pytest.raises(TaskError, match="Did you mean 'word_f1'"):
        metric_for(task(metric="words_f1"))
    with pytest.raises(TaskError, match=r"'word_f1' is for kind generate, not classify\. "):
        metric_for(task(metric="word_f1", kind="classify"))


@pytest.mark.usefixtures("example")
def test_a_schedule_of_a_package_is_scaled_to_one() -> None:
    mixture = MixtureConfig(schedule="small_first")
    assert shares_at(mixture, {"a": 100, "b": 300}, 0.0) == pytest.approx({"a": 0.75, "b": 0.25})
    assert shares_at(mixture, {"a": 100, "b": 300}, 1.0) == pytest.approx({"a": 0.5, "b": 0.5})


@pytest.mark.usefixtures("example")
def test_editors_are_offered_the_names_of_packages() -> None:
    fields = config_schema()["$defs"]["MixtureConfig"]["properties"]
    assert fields["schedule"]["enum"][-2:] == ["focus", "small_first"]


def test_without_the_package_its_names_are_unknown(run_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"mixture.schedule is 'small_first'. .*All: round_robin, "):
        CliRunner().invoke(
            app,
            ["check", str(run_file), "--set", "mixture.schedule=small_first"],
            standalone_mode=False,
            catch_exceptions=False,
        )
    assert "multitune-example" not in versions().packages


def test_the_names_of_a_run_file_are_those_that_are_registered() -> None:
    from multitune.config import registered

    assert set(registered.SCHEDULES) == set(schedules.SCHEDULES)
    assert registered.ROUTERS == classifiers.KINDS


def rows(tasks: str = "ab") -> RouterRows:
    rng = np.random.default_rng(5)

    def some(place: int) -> dict[str, np.ndarray]:
        return {"prompt": (rng.normal(size=(12, 4)) + 8 * place).astype(np.float32)}

    return RouterRows(*({name: some(place) for place, name in enumerate(tasks)} for _ in range(2)), general={})


def test_a_router_of_a_package_is_fitted_kept_and_opened_again(install: Install, tmp_path: Path) -> None:
    from multitune.core.files import write_folder

    install("near", {"multitune.routers": {"nearest": "near"}}, ROUTER)
    router = fit_router("nearest", "key", rows())
    write_folder(tmp_path / "router", *router.files())
    opened = load_router(tmp_path / "router", "key")
    text = rows().held["b"]["prompt"]
    table = {"a": "one", "b": "two"}
    assert {decision.adapter for decision in opened.decide(text, table)} == {"two"}
    assert opened.decide(text, table) == router.decide(text, table)
    with pytest.raises(RouterError, match="cannot take in or forget a task"):
        opened.require_growing()


def test_a_kept_router_without_its_package_says_so(install: Install, tmp_path: Path) -> None:
    with pytest.raises(RouterError, match="'nearest', which this version does not know and no installed package"):
        classifiers.open_classifier("nearest", ["a"], {})


@pytest.mark.parametrize(
    ("value", "code", "fault"),
    [
        ("broken", "import no_such_module", "cannot be loaded from broken .ModuleNotFoundError: No module named"),
        ("broken:absent", "", "cannot be loaded from broken:absent .AttributeError"),
        ("broken:name", "name = 'no function'", "is no function"),
        ("broken:name", "def name(*_): return 1 / 0", "failed .ZeroDivisionError: division by zero"),
        ("broken:name", "def name(*_): return {'a': 1.0}", r"gives \{'a': 1.0\}, not a share above 0 for each"),
        ("broken:name", "def name(*_): return {'a': 1.0, 'b': float('nan')}", "gives .*nan"),
    ],
)
def test_a_broken_schedule_is_one_message_that_names_the_package(
    value: str, code: str, fault: str, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "broken", raising=False)
    install("broken", {"multitune.schedules": {"odd": value}}, code, "2.1")
    with pytest.raises(PluginError, match=rf"^broken 2.1: multitune.schedules 'odd' {fault}.*Update this package"):
        shares_at(MixtureConfig(schedule="odd"), {"a": 1.0, "b": 2.0}, 0.5)
    monkeypatch.delitem(sys.modules, "broken", raising=False)


def test_a_broken_metric_and_router_name_their_package(install: Install) -> None:
    install("odd-metric", {"multitune.metrics": {"odd": "odd_metric:odd"}}, "odd = 3")
    install("odd-router", {"multitune.routers": {"odd": "odd_router:odd"}}, "odd = 3")
    with pytest.raises(PluginError, match=r"^odd-metric 0.1.0: multitune.metrics 'odd' is no Metric of that name"):
        metric_for(task(metric="odd"))
    with pytest.raises(PluginError, match=r"^odd-router 0.1.0: multitune.routers 'odd' has no fit and open"):
        fit_router("odd", "key", rows())
    with pytest.raises(TaskError, match=r"All: exact_match, rouge_l, chrf, bleu$"):  # what is broken is not offered
        metric_for(task(metric="odder"))


def test_of_two_packages_with_one_name_neither_is_used(install: Install) -> None:
    for name in ("one", "two"):
        install(name, {"multitune.schedules": {"same": f"{name}:same"}}, "same = dict")
    with pytest.raises(
        PluginError, match=r"(one|two) 0.1.0 and (one|two) 0.1.0 both offer multitune.schedules 'same'"
    ):
        shares_at(MixtureConfig(schedule="same"), {"a": 1.0}, 0.5)


def test_a_package_cannot_replace_what_is_built_in(install: Install) -> None:
    names = {"multitune.schedules": {"sqrt": "thief:steal"}, "multitune.metrics": {"accuracy": "thief:steal"}}
    install("thief", names, "raise SystemError")
    assert shares_at(MixtureConfig(schedule="sqrt"), {"a": 1.0}, 0.5) == {"a": 1.0}
    assert metric_for(task(kind="classify", metric="accuracy")) is metrics.METRICS["accuracy"]
