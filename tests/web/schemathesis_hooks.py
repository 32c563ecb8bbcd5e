"""What Schemathesis cannot guess: an agent and runs that are known."""

import os
from typing import Any

import schemathesis


@schemathesis.hook
def map_path_parameters(
    context: schemathesis.HookContext, path_parameters: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Ask for the agent whose token is shown and for its run; others are asked for in the phase of coverage."""
    is_patch = context.operation is not None and context.operation.method == "patch"
    run_id = os.environ["ACTIVE_RUN_ID" if is_patch else "RUN_ID"]
    known = {"agent_id": os.environ["AGENT_ID"], "run_id": run_id}
    return path_parameters and {name: known.get(name, value) for name, value in path_parameters.items()}
