"""What tests of answers share."""

import pytest

from multitune.model.bank import AdapterBank


@pytest.fixture(params=["shared prefixes", "row by row"])
def either(request: pytest.FixtureRequest, bank: AdapterBank) -> AdapterBank:
    """A bank on a base that shares prefixes, and on one that cannot."""
    if request.param == "row by row":
        bank.backbone.model.set_attn_implementation("eager")
        bank.backbone.shares_prefixes = False
    return bank
