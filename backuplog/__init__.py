"""Take in backup task results from agents, and give back run history and logs.

An embedded library: open a store, hand each payload to ``ingest_task_result`` inside your own web handler, and list
and read with ``query_runs``, ``get_run`` and ``read_log``.
"""

from .agent import get_agent, list_agents, register_agent
from .anomaly import Anomaly, find_anomalies
from .append import append_log
from .check import CheckReport, check_logs
from .chunk import CHUNK_BYTES, MAX_LOG_BYTES
from .convert import parse_task_result
from .copying import CopyReport, copy_store
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
    LogClosed,
    LogExpired,
    LogLost,
    LogOffsetMismatch,
    LogReplaced,
    PayloadTooLarge,
    RateLimited,
    RunConflict,
    RunNotFound,
    SchemaOutdated,
    StoreError,
    StoreUnavailable,
    TransactionRolledBack,
    Unauthenticated,
    UnsupportedMedia,
)
from .expire import expire_log
from .figures import ReparseReport, reparse
from .follow import LogProgress, follow_log, read_log_since
from .ingest import ingest_task_result, ingest_task_results
from .log import iter_log, read_log, tail_log
from .model import (
    DEFAULT_TENANT,
    Agent,
    AgentToken,
    BackupRun,
    LogState,
    Outcome,
    Progress,
    Receipt,
    RunPage,
    RunQuery,
    RunStats,
    TaskResult,
)
from .observe import IngestEvent, LoggingObserver, Observer
from .overdue import Expectation, Overdue, find_overdue
from .parsers import parse_log
from .pruning import prune
from .query import get_run, last_successes, query_runs
from .reap import reap_stale
from .redact import Redacted, Redactor, SecretRedactor
from .remove import remove_agent, remove_tenant
from .report import LatestRun, RunSummary, latest_runs, summarize_runs
from .retention import RetentionPolicy
from .row import TABLES
from .scan import LogMatch
from .search import LogSearch, search_logs
from .store import Store, open_store
from .sweep import PruneReport
from .token import issue_agent_token, list_agent_tokens, revoke_agent_token, verify_agent_token

__all__ = [
    "CHUNK_BYTES",
    "DEFAULT_TENANT",
    "MAX_LOG_BYTES",
    "TABLES",
    "Agent",
    "AgentNotFound",
    "AgentToken",
    "Anomaly",
    "BackendNotFound",
    "BackupRun",
    "BackuplogError",
    "CheckReport",
    "CopyReport",
    "CorruptLog",
    "Expectation",
    "FieldError",
    "Forbidden",
    "IngestEvent",
    "InvalidAgent",
    "InvalidInput",
    "InvalidQuery",
    "InvalidTaskResult",
    "LatestRun",
    "LogClosed",
    "LogExpired",
    "LogLost",
    "LogMatch",
    "LogOffsetMismatch",
    "LogProgress",
    "LogReplaced",
    "LogSearch",
    "LogState",
    "LoggingObserver",
    "Observer",
    "Outcome",
    "Overdue",
    "PayloadTooLarge",
    "Progress",
    "PruneReport",
    "RateLimited",
    "Receipt",
    "Redacted",
    "Redactor",
    "ReparseReport",
    "RetentionPolicy",
    "RunConflict",
    "RunNotFound",
    "RunPage",
    "RunQuery",
    "RunStats",
    "RunSummary",
    "SchemaOutdated",
    "SecretRedactor",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "TaskResult",
    "TransactionRolledBack",
    "Unauthenticated",
    "UnsupportedMedia",
    "append_log",
    "check_logs",
    "copy_store",
    "expire_log",
    "find_anomalies",
    "find_overdue",
    "follow_log",
    "get_agent",
    "get_run",
    "ingest_task_result",
    "ingest_task_results",
    "issue_agent_token",
    "iter_log",
    "last_successes",
    "latest_runs",
    "list_agent_tokens",
    "list_agents",
    "open_store",
    "parse_log",
    "parse_task_result",
    "prune",
    "query_runs",
    "read_log",
    "read_log_since",
    "reap_stale",
    "register_agent",
    "remove_agent",
    "remove_tenant",
    "reparse",
    "revoke_agent_token",
    "search_logs",
    "summarize_runs",
    "tail_log",
    "verify_agent_token",
]
