"""The served API against its own OpenAPI file, by schemathesis: no 5xx, and nothing that is not documented."""

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.conftest import serving
from tests.serving.test_operations import ADMIN

EXAMPLES = 1000 if os.environ.get("MULTITUNE_HYPOTHESIS") == "long" else 10  # random ones of each route
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# Fields of which two in one request contradict each other, so that a random request with all of them is refused.
FORMS = ("structured_outputs", "response_format", "multitune", "guided_choice", "guided_json", "guided_regex")
OTHERS = ("guided_grammar", "best_of", "echo", "max_completion_tokens")
MESSAGE = {
    "type": "object",
    "properties": {"role": {"const": "user"}, "content": {"type": "string", "minLength": 1, "maxLength": 40}},
    "required": ["role", "content"],
}


@pytest.fixture(scope="module")
def learning_server(byte_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    run = shutil.copytree(byte_run, tmp_path_factory.mktemp("openapi") / "run")
    keys = ("--api-key", "client-key", "--admin-key", "admin-key")
    warning = "Invalid HTTP request received"  # to what it sends at first, to find out what gets through
    with serving(run, *keys, "--learning", "apply", "--keep-text", says=warning) as url:
        yield url


def narrowed(api: dict[str, Any], url: str) -> dict[str, Any]:
    """The file with values that exist, and half of all generations without forms, so that many are answered."""
    schemas = api["components"]["schemas"]
    names = [one["id"] for one in httpx.get(f"{url}/v1/models", headers=ADMIN).json()["data"]]
    asked = {"model": "auto", "prompt": "copy w1", "max_tokens": 1}
    issued = [httpx.post(f"{url}/v1/completions", headers=ADMIN, json=asked).json()["id"] for _ in range(3)]
    adapters, generations = ["late", "later"], ("ChatRequest", "CompletionRequest")
    some: dict[str, dict[str, list[Any]]] = {
        "LoadAdapter": {"lora_name": adapters, "lora_path": ["adapters/shared", "adapters/copy", "adapters", "../x"]},
        "UnloadAdapter": {"lora_name": adapters},
        "FeedbackRequest": {"request_id": issued, "task": ["copy", "colours", "base"]},
        **{name: {"model": names, "max_tokens": [1, 2, 8]} for name in generations},
    }
    for name, values in some.items():
        schemas[name]["properties"] |= {field: {"enum": of} for field, of in values.items()}
    for name in generations:
        free = copy.deepcopy(schemas[name])
        for field in (*FORMS, *OTHERS):
            free["properties"].pop(field, None)
        if name == "ChatRequest":
            free["properties"]["messages"] = {"type": "array", "items": MESSAGE, "minItems": 1, "maxItems": 1}
        schemas[name] = {"anyOf": [free, schemas[name]]}
    for parameter in api["paths"]["/v1/models/{name}"]["get"]["parameters"]:
        parameter["schema"] = {"enum": names}
    return api


def routed(url: str) -> float:
    """How many requests were routed so far."""
    lines = httpx.get(f"{url}/metrics", headers=ADMIN).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("multitune:routes_total{"))


@pytest.mark.timeout(1800)
def test_no_request_gets_a_5xx_or_an_answer_that_the_openapi_file_does_not_document(
    learning_server: str, tmp_path: Path
) -> None:
    api = httpx.get(f"{learning_server}/openapi.json", headers=ADMIN).json()
    (tmp_path / "openapi.json").write_text(json.dumps(narrowed(api, learning_server)), "utf-8")
    options = {"--url": learning_server, "--header": f"Authorization: {ADMIN['Authorization']}"}
    options |= {"--phases": "coverage,fuzzing", "--max-examples": str(EXAMPLES), "--checks": ",".join(CHECKS)}
    options |= {"--request-timeout": "300"}
    command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", "--no-color"]
    command += ["--generation-deterministic"] if EXAMPLES < 100 else []
    command += [part for pair in options.items() for part in pair]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    assert routed(learning_server) > EXAMPLES, found.stdout
