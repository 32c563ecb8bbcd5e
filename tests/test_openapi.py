"""The OpenAPI document: valid, of the code, with examples that are true."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

import backuplog
from backuplog import http
from backuplog.http import openapi

DOCUMENT = openapi.document()
STORED = Path(__file__).parent.parent / "docs" / "openapi.json"
PAYLOADS = Path(__file__).parent / "data" / "payloads"


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every operation of the document."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            if method != "parameters":
                yield f"{method} {path}", operation


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """Give a validator of a schema of the document."""
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def test_it_is_valid() -> None:
    """The document is OpenAPI 3.1, with tokens and without, and JSON can hold it."""
    for document in (DOCUMENT, openapi.document(prefix="/api/v1", guard=http.Guard(tokens=False))):
        OpenAPIV31SpecValidator(json.loads(json.dumps(document))).validate()


def test_the_stored_document_is_that_of_the_code() -> None:
    """docs/openapi.json is what ``python -m backuplog.http.openapi`` prints."""
    assert json.loads(STORED.read_text(encoding="utf-8")) == DOCUMENT


def test_every_endpoint_is_in_it() -> None:
    """Each function of the contract is an operation, and those that may be asked of all agents are two."""
    named = sorted(operation["operationId"] for _, operation in operations())
    assert named == [
        "getAllAnomalies",
        "getAllBackupRuns",
        "getAllLatestRuns",
        "getAllLogMatches",
        "getAllOverdueRuns",
        "getAllRunSummary",
        "getAnomalies",
        "getBackupRun",
        "getBackupRunLog",
        "getBackupRuns",
        "getLatestRuns",
        "getLogMatches",
        "getOverdueRuns",
        "getRunSummary",
        "patchBackupRunLog",
        "postTaskResult",
        "postTaskResults",
    ]
    assert {name.lower().replace("_", "") for name in http.__all__ if name.startswith(("get_", "patch_", "post_"))} == {
        name.lower().replace("all", "") for name in named
    }


@pytest.mark.parametrize(("name", "operation"), [pytest.param(*one, id=one[0]) for one in operations()])
def test_examples_are_true(name: str, operation: dict[str, Any]) -> None:
    """Every body, sent or answered, has an example, and each is valid against its schema."""
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    bodies += [response for response in operation["responses"].values() if "content" in response]
    for body in bodies:
        for media, content in body["content"].items():
            examples = content.get("examples", {})
            assert examples or media == "application/problem+json", name
            for example in examples.values():
                validator(content["schema"]).validate(example["value"])


@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("*.json")), ids=lambda path: path.stem)
def test_real_results_are_valid(path: Path) -> None:
    """What a real agent sends, with its policy, is what the schema allows."""
    sent = {**json.loads(path.read_text()), "policyId": "0e3f0b51-9d0e-4c0b-8d2f-5f7e6a1c2b3d"}
    validator({"$ref": "#/components/schemas/TaskResult"}).validate(sent)


def test_schemas_have_the_fields_of_the_models() -> None:
    """What a run, a page and a result have, with their types, limits and meanings, stands in the document."""
    schemas = DOCUMENT["components"]["schemas"]
    fields = {field.name for field in attrs.fields(backuplog.BackupRun)} - {"tenant_id"}
    assert set(schemas["BackupRun"]["properties"]) - {"error_message_truncated"} == fields
    assert set(schemas["BackupRun"]["required"]) == set(schemas["RunWithLog"]["required"]) == fields
    assert schemas["TaskResult"]["required"] == ["taskId", "policyId", "taskType", "status", "durationSeconds"]
    assert schemas["TaskResult"]["properties"]["snapshotId"]["maxLength"] == 255
    assert schemas["BackupRun"]["properties"]["end_time"]["type"] == ["string", "null"]
    entries = {
        "LatestRuns": ("latest", backuplog.LatestRun),
        "RunSummaries": ("groups", backuplog.RunSummary),
        "OverdueRuns": ("overdue", backuplog.Overdue),
        "Anomalies": ("anomalies", backuplog.Anomaly),
    }
    for name, (listed, model) in entries.items():
        shown = schemas[name]["properties"][listed]["items"]
        assert set(shown["properties"]) == set(shown["required"]) == {field.name for field in attrs.fields(model)}
    for schema in schemas.values():
        for name, field in schema["properties"].items():
            assert field.get("description") or name in ("type", "status", "results"), name


def test_without_tokens_it_asks_for_none() -> None:
    """The document says what the guard does."""
    document = openapi.document(prefix="/api", guard=http.Guard(tokens=False))
    assert "security" not in document
    assert all(path.startswith("/api/") for path in document["paths"])
    assert "401" not in document["paths"]["/api/backup-runs"]["get"]["responses"]
