"""What Schemathesis cannot guess: an agent and a run that are known."""

import os
from typing import Any

import schemathesis


@schemathesis.hook
def map_path_parameters(_: schemathesis.HookContext, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Ask for the agent whose token is shown and for its run; others are asked for in the phase of coverage."""
    known = {"agent_id": os.environ["AGENT_ID"], "run_id": os.environ["RUN_ID"]}
    return path_parameters and {name: known.get(name, value) for name, value in path_parameters.items()}
