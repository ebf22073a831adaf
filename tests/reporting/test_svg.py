"""A picture takes its colours from the page, keeps text as text, and shares no id with another."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

from multitune.reporting import svg
from multitune.reporting.blocks import Chart
from multitune.reporting.charts import Line, forest_chart, loss_curves, share_lines
from multitune.reporting.training_curves import Curve, Shares

ODD = "$x_1$ <b>&amp;</b> 日本"
LINES = [Line(ODD, 0.1, 0.05, 0.2, "helped"), Line("other", -0.1, None, None)]


def texts(picture: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(picture).iter() if node.tag.endswith("text")]


def forest(key: str = "a", lines: Sequence[Line] = LINES) -> Chart:
    return forest_chart("Title", lines, "difference", key, what="Differences", sheet="numbers")


def test_names_are_text_and_no_formula_or_markup() -> None:
    assert ODD in texts(forest().svg) and ODD in texts(forest().narrow)


def test_the_figures_stand_beside_the_intervals() -> None:
    shown = " ".join(texts(forest().svg))
    assert "+0.100  [+0.050, +0.200]" in shown and "−0.100" in shown


def test_colours_are_the_pages() -> None:
    picture = forest().svg
    assert "var(--blue)" in picture and "var(--grey)" in picture
    assert not any(stand_in in picture for stand_in in svg.VARIABLES)


def test_pictures_share_no_id() -> None:
    pictures = [forest(key).svg for key in ("a", "b")]
    ids = [set(re.findall(r' id="([^"]+)"', picture)) for picture in pictures]
    assert ids[0] and not ids[0] & ids[1]
    for own, picture in zip(ids, pictures, strict=True):
        assert set(re.findall(r"url\(#([^)]+)\)", picture)) | set(re.findall(r'href="#([^"]+)"', picture)) == own


def test_the_same_facts_give_the_same_picture() -> None:
    assert forest() == forest()


def test_lines_are_labelled_where_they_end_and_the_kept_checkpoint_is_ringed() -> None:
    points = [(0, 0, 3.0), (10, 80, 1.0)]
    together = Curve("shared", "a", [(n, 8 * n, 3.0 - n / 5) for n in range(1, 11)], points, chosen=10)
    alone = Curve("a", "a", [(n, 8 * n, 3.0 - n / 6) for n in range(1, 11)], points, chosen=None)
    names = {"shared": "together", "a": "alone"}
    picture = loss_curves("a", [together, alone], names, "p")
    assert {"together", "alone", "training rows of this task seen"} <= set(texts(picture))
    unringed = loss_curves("a", [Curve("shared", "a", together.train, points), alone], names, "p")
    assert picture.count("<use") == unringed.count("<use") + 1


def test_a_curve_of_one_point_and_shares_of_one_step_are_drawn() -> None:
    assert "only" in texts(loss_curves("a", [Curve("x", "a", [(1, 8, 2.0)])], {"x": "only"}, "p"))
    assert "asked" in texts(share_lines(Shares("x", "a", [(1, 0.5)], [(1, 0.4)]), "p"))


def test_words_say_what_a_forest_plot_shows() -> None:
    lines = [Line("a", 0.1, 0.0, 0.2, "helped"), Line("b", -0.2, -0.3, -0.1, "hurt")]
    assert forest(lines=lines).label == "Differences. helped: a +0.100; hurt: b −0.200."
