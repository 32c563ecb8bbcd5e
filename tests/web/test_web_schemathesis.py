"""Schemathesis, all checks, against two frameworks and two databases."""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

import backuplog
from backuplog import http
from backuplog.http import openapi
from web_site import running, without_tokens

HERE = Path(__file__).parent
SEED = "20261124"
EXAMPLES = "8"


# With BACKUPLOG_TEST_EXAMPLES all four pairs are tried, with so many examples.
MORE = os.environ.get("BACKUPLOG_TEST_EXAMPLES")
PAIRS = [
    ("fastapi", "sqlite", True),
    ("flask", "postgres", False),  # without tokens: no agent's is enough for lists of all agents and reports
    *([("fastapi", "postgres", False), ("flask", "sqlite", True)] if MORE else []),
]


@pytest.mark.parametrize(("name", "database", "has_tokens"), PAIRS)
def test_no_request_finds_a_failure(
    request: pytest.FixtureRequest, name: str, database: str, *, has_tokens: bool, tmp_path: Path
) -> None:
    """Whatever the document lets be sent, and much that it does not, is answered as it says, and never with a 500."""
    url = f"sqlite:///{tmp_path / 'backups.db'}" if database == "sqlite" else request.getfixturevalue("database_url")
    document = openapi.document(guard=http.Guard(tokens=has_tokens))
    for operation in (path["get"] for path in document["paths"].values() if "get" in path):
        # A valid cursor is the one of a page before, which no schema can say.
        operation["parameters"] = [one for one in operation["parameters"] if one["name"] != "cursor"]
    [patch] = (path["patch"] for path in document["paths"].values() if "patch" in path)
    # A valid Content-Range is as long as the body; without one, Upload-Offset is required.
    patch["parameters"] = [{**one, "required": True} for one in patch["parameters"] if one["name"] == "Upload-Offset"]
    for claim in ("logBytes", "logSha256"):  # Valid are those of the log that is sent.
        del document["components"]["schemas"]["TaskResult"]["properties"][claim]
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    with running(name, url, tmp_path, *(() if has_tokens else without_tokens(name))) as site:
        sent = {**openapi.EXAMPLE_RESULT, "taskId": str(uuid4())}
        active = {**openapi.EXAMPLE_RESULT, "taskId": str(uuid4()), "status": "running", "log": None}
        backuplog.ingest_task_results(site.store, [(site.agent_id, sent), (site.agent_id, active)])
        command = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(HERE / "schemathesis.toml")]
        command += ["run", str(tmp_path / "openapi.json"), "--url", f"http://127.0.0.1:{site.port}"]
        command += ["--header", f"Authorization: Bearer {site.token}", "--continue-on-failure"]
        command += ["--seed", SEED, "--max-examples", MORE or EXAMPLES]
        hooks = {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE), "AGENT_ID": str(site.agent_id)}
        hooks |= {"RUN_ID": sent["taskId"], "ACTIVE_RUN_ID": active["taskId"]}
        done = subprocess.run(
            [*command, "--no-color"],
            env={**os.environ, **hooks},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
