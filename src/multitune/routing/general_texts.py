"""Texts that belong to hardly any task, in the package: they show every router what is none of its tasks.

304 short texts of 19 kinds, written for this: greetings, questions, requests, code, reviews, noise, 30 languages; and
long ones, made of them. A router that has seen texts of no task rejects others far oftener (docs/LOG.md).

Source: outlier exposure, Hendrycks et al. 2019, arXiv:1812.04606.
"""

import json
from collections.abc import Mapping
from importlib.resources import files

import numpy as np

from multitune.routing.features import Features

BUILT_IN = "built-in "  # before the name of a kind, so that it is no set's of the run
ENGLISH = 14  # kinds of English prose and requests, which come first; long texts are made of one of each


def general_texts() -> dict[str, list[str]]:
    """Kind -> its texts."""
    text = files("multitune.routing").joinpath("general_texts.json").read_text("utf-8")
    found = {f"{BUILT_IN}{kind}": texts for kind, texts in json.loads(text).items()}
    english = list(found.values())[:ENGLISH]
    return {**found, f"{BUILT_IN}long": ["\n\n".join(texts) for texts in zip(*english, strict=True)]}


def general_vectors(features: Features) -> dict[str, np.ndarray]:
    """Kind -> the features of its texts, float32 (text, width)."""
    return {kind: features.of(texts) for kind, texts in general_texts().items()}


def drawn_together(general: Mapping[str, np.ndarray], few: int) -> dict[str, np.ndarray]:
    """The same sets, each moved towards the middle of all sets, the more so the fewer rows it has.

    A mean of n rows counts n / (n + few), the middle the rest: of a dozen texts a mean is half chance.

    Source: James & Stein 1961.
    """
    if len(general) < 2:
        return dict(general)
    middle = np.mean([rows.mean(0) for rows in general.values()], axis=0)
    return {name: rows + (middle - rows.mean(0)) * (few / (len(rows) + few)) for name, rows in general.items()}
