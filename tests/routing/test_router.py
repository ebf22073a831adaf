"""Laws of the router: closed form, calibrated, silent where it does not know, the same after a trip to the disk."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.spatial.distance import cdist

from multitune.core.errors import RouterError
from multitune.core.files import write_folder
from multitune.core.results.base import renamed
from multitune.core.seals import unsealed
from multitune.routing.classifiers import KINDS
from multitune.routing.discriminant import SHRINKAGE, Discriminant
from multitune.routing.quality import calibration_error, left_out, outside, quality
from multitune.routing.router import OLDER_NAMES, Router, RouterRows, fit_router, load_router

TABLE = {"a": "one", "b": "two", "c": "three"}
RouterOf = Callable[..., Router]
WIDTH = 12


def cloud(task: int, view: int, rows: int, seed: int = 0) -> np.ndarray:
    """Rows around a centre of the task and view, correlated alike for all."""
    random = np.random.default_rng([seed, task, view])
    centre = np.zeros(WIDTH)
    centre[task], centre[6 + view] = 4.0, 4.0
    mixing = np.random.default_rng(99).normal(size=(WIDTH, WIDTH)) * 0.2 + np.eye(WIDTH)
    return (random.normal(size=(rows, WIDTH)) @ mixing + centre).astype(np.float32)


def views(tasks: str, rows: int = 60, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    return {
        name: {view: cloud(ord(name) - ord("a"), place, rows, seed) for place, view in enumerate(("prompt", "body"))}
        for name in tasks
    }


def others(rows: int, seed: int = 11) -> np.ndarray:
    """Texts of no task: around a centre of their own, off to the side of those of the tasks."""
    return cloud(4, 1, rows, seed)


@pytest.fixture(scope="session")
def router_of() -> Callable[..., Router]:
    """A calibrated router of a kind over tasks named by single letters."""

    def fitted(kind: str = "discriminant", tasks: str = "abc", with_general: bool = False) -> Router:
        general = {"chat": others(40)} if with_general else {}
        return fit_router(kind, "points", RouterRows(views(tasks), views(tasks, 40, seed=1), general))

    return fitted


def every(found: dict[str, dict[str, np.ndarray]], view: str) -> dict[str, np.ndarray]:
    return {task: of[view] for task, of in found.items()}


def test_distances_are_mahalanobis_under_the_shrunk_common_covariance():
    rows = {name: cloud(place, 0, 50) for place, name in enumerate("abc")}
    found = Discriminant(WIDTH)
    for name, part in rows.items():
        found.add(name, part)
    centred = np.concatenate([part - part.mean(0) for part in rows.values()]).astype(np.float64)
    covariance = centred.T @ centred / (150 - 3)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance))
    means = np.array([part.mean(0) for part in rows.values()])
    asked = cloud(1, 1, 7)
    expected = cdist(asked, means, "mahalanobis", VI=np.linalg.inv(shrunk)) ** 2
    assert np.allclose(found.distances(asked), expected, rtol=1e-3)


def test_fitting_at_once_and_row_by_row_are_the_same():
    rows = cloud(0, 0, 50)
    whole, grown = Discriminant(WIDTH), Discriminant(WIDTH)
    whole.add("a", rows)
    grown.add("a", rows[:20])
    for row in rows[20:]:
        grown.update("a", row)
    for one in (whole, grown):
        one.add("b", cloud(1, 0, 50))
    asked = cloud(1, 0, 9)
    assert np.allclose(whole.distances(asked), grown.distances(asked), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_finds_the_task_in_either_view(kind: str, router_of: RouterOf):
    test = views("abc", 50, seed=2)
    for view in ("prompt", "body"):
        assert quality(router_of(kind), every(test, view), TABLE).accuracy > 0.95


@pytest.mark.parametrize("with_general", [False, True])
def test_adding_a_task_is_fitting_with_it_from_the_start(with_general: bool, router_of: RouterOf):
    grown, whole = (router_of(tasks=tasks, with_general=with_general) for tasks in ("ab", "abc"))
    grown.add("c", views("c")["c"], views("c", 40, seed=1)["c"])
    asked = cloud(2, 0, 20, seed=5)
    assert np.allclose(grown.probabilities(asked), whole.probabilities(asked), atol=1e-6)
    assert grown.threshold == pytest.approx(whole.threshold) and grown.lowest == pytest.approx(whole.lowest)


def test_adding_a_task_leaves_the_older_prototypes_bit_for_bit(router_of: RouterOf):
    router = router_of(tasks="ab")
    before = {name: mean.copy() for name, mean in router.require_growing().discriminant.means.items()}
    router.add("c", views("c")["c"], views("c", 40, seed=1)["c"])
    after = router.require_growing().discriminant.means
    assert all(np.array_equal(after[name], mean) for name, mean in before.items())


def test_a_removed_task_is_never_chosen_again(router_of: RouterOf):
    router = router_of()
    router.remove("b")
    decisions = router.decide(views("b", 30, seed=3)["b"]["prompt"], TABLE)
    assert {decision.task for decision in decisions} <= {"a", "c"}
    assert set(router.held.tasks) == {"a", "c"}


def test_calibration_on_held_out_rows_lowers_their_loss(router_of: RouterOf):
    router = router_of()
    owners = [router.classifier.tasks.index(task) for task in router.held.tasks]

    def loss(temperature: float) -> float:
        router.temperature = temperature
        chosen = router.probabilities(router.held.features.astype(np.float32))[np.arange(len(owners)), owners]
        return float(-np.log(chosen + 1e-300).mean())

    fitted = router.temperature
    assert loss(fitted) <= min(loss(fitted * factor) for factor in (0.5, 0.8, 1.25, 2.0)) + 1e-9


def test_two_tasks_with_one_adapter_need_not_be_told_apart(router_of: RouterOf):
    router, between = router_of(), cloud(0, 0, 200, seed=4)
    between += cloud(1, 0, 200, seed=4) - cloud(1, 0, 200, seed=4).mean(0)
    shared = router.decide(between, {"a": "one", "b": "one", "c": "three"})
    apart = router.decide(between, TABLE)
    for together, alone in zip(shared, apart, strict=True):
        assert together.probability >= alone.probability - 1e-9
    assert quality(router, every(views("abc", 50, 2), "prompt"), dict.fromkeys("abc", "one")).same_adapter == 1.0


def test_an_out_of_distribution_text_goes_to_the_base_and_is_named_so(router_of: RouterOf):
    for far in (cloud(0, 0, 20) + 60.0, cloud(0, 0, 20) - 60.0):
        decisions = router_of().decide(far, TABLE)
        assert {(d.adapter, d.reason) for d in decisions} == {("base", "out-of-distribution")}


def test_familiarity_is_how_much_nearer_a_task_is_than_the_middle_of_all_or_general_texts(router_of: RouterOf):
    classifier = router_of(with_general=True).require_growing()
    means, asked = classifier.discriminant.means, cloud(1, 1, 9, seed=3)
    precision = classifier.discriminant.precision
    tasks = np.array([mean for name, mean in means.items() if not name.startswith("*")])
    background = np.array([means["*/chat"], tasks.mean(0)])
    near, none = (cdist(asked, points, "mahalanobis", VI=precision).min(1) ** 2 for points in (tasks, background))
    assert np.allclose(classifier.read(asked).familiarity, none - near, rtol=1e-6, atol=1e-6)


def test_general_texts_teach_what_belongs_to_no_task(router_of: RouterOf):
    inside, new = views("abc", 50, 2)["a"]["body"], others(60, seed=12)
    knowing, unknowing = (outside(router_of(with_general=w), inside, new, TABLE) for w in (True, False))
    assert knowing.auroc > 0.99 and knowing.routed < 0.2
    assert knowing.routed < unknowing.routed


def test_a_row_between_all_tasks_is_out_of_distribution_though_no_general_text_is_known(router_of: RouterOf):
    between = np.mean([cloud(task, view, 40, seed=9) for task in range(3) for view in range(2)], axis=0)
    assert {decision.adapter for decision in router_of().decide(between, TABLE)} == {"base"}


def test_a_classifier_without_a_task_is_one_that_forgot_it(router_of: RouterOf):
    router, asked = router_of(), cloud(0, 1, 9, seed=3)
    before = router.classifier.read(asked)
    without = router.classifier.without("b").read(asked)
    assert np.array_equal(router.classifier.read(asked).scores, before.scores)
    router.remove("b")
    after = router.classifier.read(asked)
    assert np.array_equal(without.scores, after.scores) and np.array_equal(without.familiarity, after.familiarity)


def test_few_rows_of_the_tasks_are_rejected(router_of: RouterOf):
    found = quality(router_of(), every(views("abc", 200, seed=7), "body"), TABLE)
    assert found.abstained < 0.1


def test_each_task_left_out_is_out_of_distribution():
    train, held, test = (views("abc", rows, seed) for seed, rows in enumerate((60, 40, 40)))
    rows = RouterRows(train, held, {})
    found = left_out(fit_router("discriminant", "points", rows), rows, test, TABLE)
    assert set(found) == set("abc")
    assert all(row.auroc > 0.6 and row.routed < 0.5 for row in found.values())


def test_a_table_keeps_its_threshold_until_the_router_is_calibrated_anew(router_of: RouterOf):
    router, asked = router_of(tasks="ab"), cloud(2, 0, 30, seed=8)
    before = router.decide(asked, TABLE)
    assert router.decide(asked, TABLE) == before
    router.add("c", views("c")["c"], views("c", 40, seed=1)["c"])
    assert router.decide(asked, TABLE) == router_of(tasks="abc").decide(asked, TABLE) != before


def test_calibration_error_is_the_mean_gap_between_promise_and_truth():
    probabilities, right = np.array([0.9] * 10), np.array([True] * 7 + [False] * 3)
    assert calibration_error(probabilities, right) == pytest.approx(0.2)
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0.0


def save(router: Router, folder: Path) -> None:
    texts, tensors = router.files()
    write_folder(folder, texts, tensors)


@pytest.mark.parametrize("kind", KINDS)
def test_a_router_is_the_same_after_a_trip_to_the_disk(kind: str, router_of: RouterOf, tmp_path: Path):
    router = router_of(kind)
    save(router, tmp_path / "r")
    again, asked = load_router(tmp_path / "r", "points"), cloud(1, 0, 30, seed=6)
    assert np.allclose(again.probabilities(asked), router.probabilities(asked), atol=1e-4)
    ours, theirs = router.decide(asked, TABLE), again.decide(asked, TABLE)
    assert [d.adapter for d in ours] == [d.adapter for d in theirs]


def test_a_router_of_an_older_version_keeps_its_thresholds_and_is_never_unsure(router_of: RouterOf, tmp_path: Path):
    router = router_of()
    save(router, tmp_path / "r")
    older = {now: before for before, now in OLDER_NAMES.items()}
    facts, arrays = tmp_path / "r" / "router.json", tmp_path / "r" / "router.safetensors"
    found = renamed(unsealed(json.loads(facts.read_text())), older)
    del found["costs"]
    facts.write_text(json.dumps({**found, "max_abstained": 0.05}))
    save_file(renamed(load_file(arrays), older), arrays)
    again = load_router(tmp_path / "r")
    assert (again.threshold, again.lowest) == (router.threshold, router.lowest)
    assert np.array_equal(again.outside, router.outside)
    asked = np.concatenate([cloud(1, 0, 30, seed=6), others(30)])
    reasons = [[one.reason for one in found.decide(asked, TABLE)] for found in (again, router)]
    assert reasons[0] == reasons[1] and set(reasons[0]) == {"routed", "out-of-distribution"}
    assert again.costs.shared is None


def test_a_router_for_other_features_is_refused(router_of: RouterOf, tmp_path: Path):
    save(router_of(), tmp_path / "r")
    with pytest.raises(RouterError, match="was fitted on 'points', not on 'layer 3'"):
        load_router(tmp_path / "r", "layer 3")


@pytest.mark.parametrize("harm", ["gone", "text", "kind", "names", "costs", "nan", "changed", "flipped"])
def test_a_damaged_router_is_refused_in_one_line(harm: str, router_of: RouterOf, tmp_path: Path):
    router = router_of()
    if harm == "nan":
        router.require_growing().discriminant.means["a/prompt"][0] = np.nan
    save(router, tmp_path / "r")
    file = tmp_path / "r" / "router.json"
    facts = unsealed(json.loads(file.read_text()))
    match harm:
        case "gone":
            file.unlink()
        case "text":
            file.write_text("{")
        case "kind":
            file.write_text(json.dumps({**facts, "kind": "oracle"}))
        case "names":
            file.write_text(json.dumps({**facts, "names": facts["names"][:-1]}))
        case "costs":
            file.write_text(json.dumps({**facts, "costs": {"outside": 0.1, "shared": 3, "tasks": {}}}))
        case "changed":
            file.write_text(file.read_text().replace('"threshold": ', '"threshold": 1'))
        case "flipped":
            arrays = tmp_path / "r" / "router.safetensors"
            data = bytearray(arrays.read_bytes())
            data[-7] ^= 1
            arrays.write_bytes(data)
        case _:
            pass
    with pytest.raises(RouterError, match="Fit it again: multitune select") as caught:
        load_router(tmp_path / "r")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_done_is_said(router_of: RouterOf):
    with pytest.raises(RouterError, match="knows task 'a' already"):
        router_of().add("a", views("a")["a"], views("a")["a"])
    with pytest.raises(RouterError, match="knows no task 'x'"):
        router_of().remove("x")
    with pytest.raises(RouterError, match="the last one"):
        router_of(tasks="a").remove("a")
    with pytest.raises(RouterError, match="kind 'softmax' cannot take in or forget"):
        router_of("softmax").add("d", views("d")["d"], views("d")["d"])
    with pytest.raises(RouterError, match="no row for task 'c'"):
        router_of().decide(cloud(0, 0, 1), {"a": "one", "b": "two"})
