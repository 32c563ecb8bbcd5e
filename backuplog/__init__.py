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
    Forbidden,
    InvalidAgent,
    InvalidInput,
    InvalidQuery,
    InvalidTaskResult,
    LogLost,
    LogReplaced,
    PayloadTooLarge,
    RateLimited,
    RunConflict,
    RunNotFound,
    SchemaOutdated,
    StoreError,
    StoreUnavailable,
    Unauthenticated,
    UnsupportedMedia,
)
from .ingest import ingest_task_result, ingest_task_results
from .log import CHUNK_BYTES, MAX_LOG_BYTES, Chunk, Log
from .model import (
    DEFAULT_TENANT,
    Agent,
    AgentToken,
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
from .query import get_run, iter_log, last_successes, query_runs, read_log, tail_log
from .store import Store
from .token import issue_agent_token, list_agent_tokens, revoke_agent_token, verify_agent_token

__all__ = [
    "CHUNK_BYTES",
    "DEFAULT_TENANT",
    "MAX_LOG_BYTES",
    "Agent",
    "AgentNotFound",
    "AgentToken",
    "BackendNotFound",
    "BackupRun",
    "BackuplogError",
    "Chunk",
    "CorruptLog",
    "Decision",
    "Delivery",
    "FieldError",
    "Forbidden",
    "InvalidAgent",
    "InvalidInput",
    "InvalidQuery",
    "InvalidTaskResult",
    "Log",
    "LogLost",
    "LogReplaced",
    "LogState",
    "LoggingObserver",
    "Observer",
    "Outcome",
    "PayloadTooLarge",
    "RateLimited",
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
    "Unauthenticated",
    "UnsupportedMedia",
    "decide",
    "get_agent",
    "get_run",
    "ingest_task_result",
    "ingest_task_results",
    "issue_agent_token",
    "iter_log",
    "last_successes",
    "list_agent_tokens",
    "open_store",
    "parse_task_result",
    "query_runs",
    "read_log",
    "register_agent",
    "revoke_agent_token",
    "tail_log",
    "verify_agent_token",
]
