"""A password in the address of a database stays in the run folder: no page and no export shows it."""

import pytest
import yaml

from multitune.core.run_folder import RunFolder
from multitune.core.text import without_passwords
from multitune.reporting.page import write_report
from multitune.reporting.record import run_record


@pytest.fixture
def secret(run: RunFolder) -> RunFolder:
    """A run whose first task came out of a database."""
    config = yaml.safe_load(run.config.read_text("utf-8"))
    config["tasks"][0]["data"] = {"sql": "postgresql://reader:pass:w0rd@db:5432/rows", "train": "select * from a"}
    run.config.write_text(yaml.safe_dump(config), "utf-8")
    return run


def test_a_page_and_a_record_show_the_address_without_it(secret: RunFolder) -> None:
    page = write_report([secret.path]).read_text("utf-8")
    record = run_record(secret).model_dump_json()
    for text in (page, record):
        assert "reader:***@db:5432/rows" in text and "w0rd" not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql+pymysql://me:geheim@host/db", "mysql+pymysql://me:***@host/db"),
        ("redis://:only@host", "redis://:***@host"),
        ("sqlite:////data/rows.db", "sqlite:////data/rows.db"),
        ("https://host:8080/path@home", "https://host:8080/path@home"),
        ("mail me@host or see a: b@c", "mail me@host or see a: b@c"),
    ],
)
def test_only_a_password_is_replaced(text: str, shown: str) -> None:
    assert without_passwords(text) == shown
