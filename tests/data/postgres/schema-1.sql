-- The schema of backuplog 0.1 with two runs, as pg_dump --inserts gave it. Never changed: a test upgrades it.
CREATE SCHEMA backuplog;
CREATE TABLE backuplog.agents (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    hostname text,
    registered_at timestamp with time zone NOT NULL
);
CREATE TABLE backuplog.backup_run_logs (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    log_version bigint NOT NULL,
    byte_offset bigint NOT NULL,
    seq bigint NOT NULL,
    size bigint NOT NULL,
    codec text NOT NULL,
    checksum bigint NOT NULL,
    data bytea NOT NULL
);
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
    digest bytea NOT NULL,
    superseded bytea NOT NULL,
    end_time_reported boolean NOT NULL,
    log_version bigint NOT NULL
);
CREATE TABLE backuplog.migrations (
    name text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);
INSERT INTO backuplog.agents VALUES ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000002', 'db-01', '2026-11-24 12:38:23.321169+00');
INSERT INTO backuplog.backup_run_logs VALUES ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000003', 2, 0, 0, 6, 'raw', 3055489385, '\x7365636f6e64');
INSERT INTO backuplog.backup_run_logs VALUES ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000004', 1, 0, 0, 1048576, 'zstd', 399211040, '\x28b52ffd8048000010005400001078780100fbff39c00202001078020010780200107802001078020010780200107803001078');
INSERT INTO backuplog.backup_run_logs VALUES ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000004', 1, 1048576, 1, 451424, 'zstd', 68249762, '\x28b52ffda060e306005400001078780100fbff39c0020200107802001078031b0778');
INSERT INTO backuplog.backup_runs VALUES ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000005', 'check', 'failed', '2026-11-24 11:59:59+00', '2026-11-24 12:00:00+00', 1, 'Fatal: wrong password', '8837c0dd', '2026-11-24 12:00:00+00', '2026-11-24 12:00:00+00', 'complete', 6, '\x16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4', 0, '\xff359b4b508085c9ec3d3ae3bcb68ea3490030d3438b77e41bd226a16b2ef6f2', '\x8120f659647852fc4f3426d28e07eb1041b26e5a2142d789d432afcc6d26ed38', false, 2);
INSERT INTO backuplog.backup_runs VALUES ('00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000004', '00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000005', 'prune', 'success', '2026-11-24 02:00:00.000001+00', '2026-11-24 02:00:01+00', 1, NULL, NULL, '2026-11-24 12:00:00+00', '2026-11-24 12:00:00+00', 'complete', 1500000, '\x090ed0fd008b4645311999f03ee2867f4b79a0cba06dfa87258a328a315643f7', 0, '\x344c6a1bc68f9c0ae1290e2150030a3596b2ea2365d7340933c50e683798ced9', '\x', true, 1);
INSERT INTO backuplog.migrations VALUES ('001_runs_and_logs', '2026-11-24 12:38:23.305012+00');
ALTER TABLE ONLY backuplog.agents
    ADD CONSTRAINT agents_pkey PRIMARY KEY (tenant_id, id);
ALTER TABLE ONLY backuplog.backup_run_logs
    ADD CONSTRAINT backup_run_logs_pkey PRIMARY KEY (tenant_id, run_id, log_version, byte_offset);
ALTER TABLE ONLY backuplog.backup_runs
    ADD CONSTRAINT backup_runs_pkey PRIMARY KEY (tenant_id, id);
ALTER TABLE ONLY backuplog.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (name);
CREATE INDEX backup_runs_agent ON backuplog.backup_runs USING btree (tenant_id, agent_id, start_time, id, status, policy_id);
CREATE INDEX backup_runs_policy ON backuplog.backup_runs USING btree (tenant_id, policy_id, start_time, id, status);
CREATE INDEX backup_runs_status ON backuplog.backup_runs USING btree (tenant_id, status, start_time, id, policy_id) WHERE (status <> 'success'::text);
CREATE INDEX backup_runs_time ON backuplog.backup_runs USING btree (tenant_id, start_time, id, status, policy_id);
