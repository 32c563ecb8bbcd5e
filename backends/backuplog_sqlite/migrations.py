"""The schema and how it came to be. A released migration is never changed; a new one is added below it.

Every key leads with the tenant. Ids are 16 bytes, times are microseconds since 1970 in UTC.
"""

from sqlite_utils import Database, Migrations

migrations = Migrations("backuplog")

# An index per question, with the columns that the question filters by at its end, so that counting never reads the
# table: measured at 1,000,000 runs against one index per column, 0.4 ms instead of up to 3.3 s.
_FIRST_SCHEMA = (
    """
    CREATE TABLE agents (
        tenant_id BLOB NOT NULL,
        id BLOB NOT NULL,
        hostname TEXT,
        registered_at INTEGER NOT NULL,
        PRIMARY KEY (tenant_id, id)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE backup_runs (
        tenant_id BLOB NOT NULL,
        id BLOB NOT NULL,
        agent_id BLOB NOT NULL,
        policy_id BLOB NOT NULL,
        task_type TEXT NOT NULL,
        status TEXT NOT NULL,
        start_time INTEGER NOT NULL,
        end_time INTEGER,
        duration_seconds REAL NOT NULL,
        error_message TEXT,
        snapshot_id TEXT,
        received_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        log_state TEXT NOT NULL,
        log_bytes INTEGER NOT NULL,
        log_sha256 BLOB,
        dropped_bytes INTEGER NOT NULL,
        digest BLOB NOT NULL,
        superseded BLOB NOT NULL,
        end_time_reported INTEGER NOT NULL,
        log_version INTEGER NOT NULL,
        PRIMARY KEY (tenant_id, id)
    )
    """,
    "CREATE INDEX backup_runs_agent ON backup_runs (tenant_id, agent_id, start_time, id, status, policy_id)",
    "CREATE INDEX backup_runs_time ON backup_runs (tenant_id, start_time, id, status, policy_id)",
    "CREATE INDEX backup_runs_policy ON backup_runs (tenant_id, policy_id, start_time, id, status)",
    """
    CREATE INDEX backup_runs_status ON backup_runs (tenant_id, status, start_time, id, policy_id)
    WHERE status <> 'success'
    """,
    """
    CREATE TABLE backup_run_logs (
        tenant_id BLOB NOT NULL,
        run_id BLOB NOT NULL,
        log_version INTEGER NOT NULL,
        byte_offset INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        size INTEGER NOT NULL,
        codec TEXT NOT NULL,
        checksum INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (tenant_id, run_id, log_version, byte_offset)
    )
    """,
)


@migrations()
def m001_runs_and_logs(database: Database) -> None:
    """Create the tables and indexes of the first release."""
    for statement in _FIRST_SCHEMA:
        database.execute(statement)


@migrations()
def m002_agent_tokens(database: Database) -> None:
    """Create the table of agents' tokens."""
    database.execute(
        """
        CREATE TABLE agent_tokens (
            tenant_id BLOB NOT NULL,
            prefix TEXT NOT NULL,
            agent_id BLOB NOT NULL,
            digest BLOB NOT NULL,
            created_at INTEGER NOT NULL,
            expires_at INTEGER,
            last_used_at INTEGER,
            PRIMARY KEY (tenant_id, prefix)
        ) WITHOUT ROWID
        """
    )
    database.execute("CREATE INDEX agent_tokens_agent ON agent_tokens (tenant_id, agent_id, created_at, prefix)")


MIGRATION_NAMES = frozenset({m001_runs_and_logs.__name__, m002_agent_tokens.__name__})
"""Every migration that this version knows; a database with another was written by a newer one."""
