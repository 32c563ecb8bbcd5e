"""Take in backup task results from agents, and give back run history and logs.

An embedded library: open a store, hand each payload to ``ingest_task_result`` inside your own web handler, and list
and read with ``query_runs``, ``get_run`` and ``read_log``.
"""

from .agent import get_agent, register_agent
from .convert import parse_task_result
from .delivery import Decision, StoredRun, Submission, decide
from .errors import (
    AgentNotFound,
    BackendNotFound,
    BackuplogError,
    CorruptLog,
    FieldError,
    InvalidAgent,
    InvalidInput,
    InvalidQuery,
    InvalidTaskResult,
    LogReplaced,
    RunConflict,
    RunNotFound,
    SchemaOutdated,
    StoreError,
    StoreUnavailable,
)
from .ingest import ingest_task_result, ingest_task_results
from .log import CHUNK_BYTES, MAX_LOG_BYTES, Chunk, Log
from .model import (
    DEFAULT_TENANT,
    Agent,
    BackupRun,
    LogState,
    Outcome,
    Receipt,
    RunPage,
    RunQuery,
    TaskResult,
)
from .observe import Delivery, LoggingObserver, Observer
from .open import open_store
from .query import get_run, iter_log, query_runs, read_log, tail_log
from .store import Store

__all__ = [
    "CHUNK_BYTES",
    "DEFAULT_TENANT",
    "MAX_LOG_BYTES",
    "Agent",
    "AgentNotFound",
    "BackendNotFound",
    "BackupRun",
    "BackuplogError",
    "Chunk",
    "CorruptLog",
    "Decision",
    "Delivery",
    "FieldError",
    "InvalidAgent",
    "InvalidInput",
    "InvalidQuery",
    "InvalidTaskResult",
    "Log",
    "LogReplaced",
    "LogState",
    "LoggingObserver",
    "Observer",
    "Outcome",
    "Receipt",
    "RunConflict",
    "RunNotFound",
    "RunPage",
    "RunQuery",
    "SchemaOutdated",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "StoredRun",
    "Submission",
    "TaskResult",
    "decide",
    "get_agent",
    "get_run",
    "ingest_task_result",
    "ingest_task_results",
    "iter_log",
    "open_store",
    "parse_task_result",
    "query_runs",
    "read_log",
    "register_agent",
    "tail_log",
]
