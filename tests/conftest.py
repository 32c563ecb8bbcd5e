"""What every test may use."""

import os
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import settings

import backuplog

pytest.register_assert_rewrite("backuplog.testing")

# A machine under load is not a bug: no test has a deadline. CI tries the same examples at every run.
settings.register_profile("backuplog", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("backuplog")


@pytest.fixture
def store() -> Iterator[backuplog.Store]:
    """Give an empty store in memory."""
    with backuplog.open_store("sqlite://") as opened:
        yield opened


@pytest.fixture
def agent_id(store: backuplog.Store) -> UUID:
    """Give an agent that the store knows."""
    return backuplog.register_agent(store, uuid4(), hostname="db-01").id


@pytest.fixture
def payload() -> Callable[..., dict[str, Any]]:
    """Give a maker of valid payloads, each of a new task; keywords replace fields, None takes one out."""

    def make(**fields: object) -> dict[str, Any]:
        valid = {
            "taskId": str(uuid4()),
            "policyId": str(uuid4()),
            "taskType": "backup",
            "status": "success",
            "durationSeconds": 12.5,
        }
        return {name: value for name, value in {**valid, **fields}.items() if value is not None}

    return make
