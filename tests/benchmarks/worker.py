"""The process of one contender, told by its standard input what to do, a line of JSON at a time.

A process for each contender is what lets an older tree of backuplog take turns with this one, and keeps what one
contender allocates or configures from the others.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from material import as_json, log_of
from timing import touch_memory
from works import WORKS, Turns


def answer(turns: Turns | None, command: dict[str, Any], contender: Any) -> tuple[Turns | None, dict[str, Any]]:
    """Do what a command says, and give what goes on and what to say of it."""
    if command["do"] == "end":
        log_of.cache_clear()
        as_json.cache_clear()
        return None, {}
    if command["do"] == "begin":
        turns = WORKS[command["work"]](contender, **command["arguments"])
    assert turns is not None, "begin a work first"
    seconds, evidence = next(turns)
    return turns, {"seconds": seconds, "evidence": evidence}


def main() -> None:
    """Make the contender, then do what is said until there is no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a contender prints is no answer

    def say(**said: Any) -> None:
        print(json.dumps(said), file=answers, flush=True)

    specification, url, folder, touched = sys.argv[1:]
    module, _, name = specification.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)
        contender = made(url, Path(folder))
    except ModuleNotFoundError as error:
        say(missing=f"{error.name} is not installed")
        return
    except Exception as error:  # noqa: BLE001 - the one who asks tells it
        say(missing=f"cannot be opened: {type(error).__name__}: {error}")
        return
    touch_memory(int(touched))
    largest = getattr(contender, "largest", None)
    say(works=contender.works, largest=largest, tree=getattr(sys.modules.get("backuplog"), "__file__", None))
    turns: Turns | None = None
    for line in sys.stdin:
        try:
            turns, said = answer(turns, json.loads(line), contender)
        except Exception as error:  # noqa: BLE001 - likewise
            turns, said = None, {"refused": f"{type(error).__name__}: {error}"}
        say(**said)


if __name__ == "__main__":
    main()
