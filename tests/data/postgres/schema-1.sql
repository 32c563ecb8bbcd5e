-- The schema of backuplog 0.1 with two runs, as pg_dump --inserts gave it. Never changed: a test upgrades it.
CREATE SCHEMA backuplog;
CREATE TABLE backuplog.backup_agent_tokens (
    tenant_id uuid NOT NULL,
    prefix text NOT NULL,
    agent_id uuid NOT NULL,
    digest bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone
);
CREATE TABLE backuplog.backup_agents (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    hostname text,
    registered_at timestamp with time zone NOT NULL
);
CREATE TABLE backuplog.backup_migrations (
    name text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE backuplog.backup_run_logs (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    log_version bigint NOT NULL,
    byte_offset bigint NOT NULL,
    size bigint NOT NULL,
    codec text NOT NULL,
    checksum bigint NOT NULL,
    data bytea NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_insert_scale_factor='0.1', toast.autovacuum_vacuum_scale_factor='0.02', toast.autovacuum_vacuum_threshold='1000');
ALTER TABLE ONLY backuplog.backup_run_logs ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE TABLE backuplog.backup_runs (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    agent_id uuid NOT NULL,
    policy_id uuid NOT NULL,
    task_type text NOT NULL,
    status text NOT NULL,
    start_time timestamp with time zone NOT NULL,
    end_time timestamp with time zone,
    duration_seconds double precision NOT NULL,
    error_message text,
    snapshot_id text,
    received_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    log_state text NOT NULL,
    log_bytes bigint NOT NULL,
    log_sha256 bytea,
    dropped_bytes bigint NOT NULL,
    files_new bigint,
    files_changed bigint,
    files_unmodified bigint,
    dirs_new bigint,
    dirs_changed bigint,
    dirs_unmodified bigint,
    data_added bigint,
    total_files_processed bigint,
    total_bytes_processed bigint,
    stats_details jsonb,
    digest bytea NOT NULL,
    superseded bytea NOT NULL,
    end_time_reported boolean NOT NULL,
    log_version bigint NOT NULL
);
INSERT INTO backuplog.backup_agents VALUES ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000002', 'db-01', '2026-11-24 20:21:49.992098+00');
INSERT INTO backuplog.backup_migrations VALUES ('001_first_schema', '2026-11-24 20:21:49.975622+00');
INSERT INTO backuplog.backup_run_logs VALUES ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000003', 2, 0, 6, 'raw', 141927332, '\x7365636f6e64');
INSERT INTO backuplog.backup_run_logs VALUES ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000004', 1, 0, 1048576, 'zstd', 3941212176, '\x28b52ffd8048000010005400001078780100fbff39c00202001078020010780200107802001078020010780200107803001078');
INSERT INTO backuplog.backup_run_logs VALUES ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000004', 1, 1048576, 451424, 'zstd', 1942309171, '\x28b52ffda060e306005400001078780100fbff39c0020200107802001078031b0778');
INSERT INTO backuplog.backup_runs VALUES ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000005', 'check', 'failed', '2026-11-24 11:59:59+00', '2026-11-24 12:00:00+00', 1, NULL, NULL, '2026-11-24 12:00:00+00', '2026-11-24 12:00:00+00', 'complete', 6, '\x16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4', 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '\xfb92b5a5ec4a1c424a4fcebb461a93618befc694b93366878e8b42b5aa15cf96', '\x8120f659647852fc4f3426d28e07eb1041b26e5a2142d789d432afcc6d26ed38', false, 2);
INSERT INTO backuplog.backup_runs VALUES ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000004', '00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000005', 'backup', 'success', '2026-11-24 11:59:59+00', '2026-11-24 12:00:00+00', 1, NULL, NULL, '2026-11-24 12:00:00+00', '2026-11-24 12:00:00+00', 'complete', 1500000, '\x090ed0fd008b4645311999f03ee2867f4b79a0cba06dfa87258a328a315643f7', 0, 5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{"tool": "restic"}', '\xd966333386fb3691715c46aff9874e966405dd42ca8f1bb90a3bbfd6fc84b03b', '\x', false, 1);
ALTER TABLE ONLY backuplog.backup_agent_tokens
    ADD CONSTRAINT backup_agent_tokens_pkey PRIMARY KEY (tenant_id, prefix);
ALTER TABLE ONLY backuplog.backup_agents
    ADD CONSTRAINT backup_agents_pkey PRIMARY KEY (tenant_id, id);
ALTER TABLE ONLY backuplog.backup_migrations
    ADD CONSTRAINT backup_migrations_pkey PRIMARY KEY (name);
ALTER TABLE ONLY backuplog.backup_run_logs
    ADD CONSTRAINT backup_run_logs_pkey PRIMARY KEY (tenant_id, run_id, log_version, byte_offset);
ALTER TABLE ONLY backuplog.backup_runs
    ADD CONSTRAINT backup_runs_pkey PRIMARY KEY (tenant_id, id);
CREATE INDEX backup_agent_tokens_agent ON backuplog.backup_agent_tokens USING btree (tenant_id, agent_id, created_at, prefix);
CREATE INDEX backup_runs_agent ON backuplog.backup_runs USING btree (tenant_id, agent_id, start_time, id, status, policy_id);
CREATE INDEX backup_runs_policy ON backuplog.backup_runs USING btree (tenant_id, policy_id, start_time, id, status);
CREATE INDEX backup_runs_status ON backuplog.backup_runs USING btree (tenant_id, status, start_time, id, policy_id) WHERE (status <> 'success'::text);
CREATE INDEX backup_runs_success ON backuplog.backup_runs USING btree (tenant_id, policy_id, start_time, id) WHERE (status = 'success'::text);
CREATE INDEX backup_runs_time ON backuplog.backup_runs USING btree (tenant_id, start_time, id, status, policy_id);
