-- Logs that grow while their tasks run, the progress of those tasks, and how many secrets are masked in a log.
ALTER TABLE {schema}.backup_runs
ADD COLUMN redactions bigint NOT NULL DEFAULT 0,
ADD COLUMN progress jsonb,
ADD COLUMN log_gap_start bigint NOT NULL DEFAULT 0,
ADD COLUMN log_gap_stop bigint NOT NULL DEFAULT 0,
ADD COLUMN log_context bytea NOT NULL DEFAULT '',
ADD COLUMN log_held bytea NOT NULL DEFAULT '';
