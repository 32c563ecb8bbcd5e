-- Finds the newest runs of each policy, agent, task type and status; successes need no index of their own then. It is
-- dropped last, because that waits for all who read.
CREATE INDEX backup_runs_kind
ON {schema}.backup_runs (tenant_id, policy_id, agent_id, task_type, status, start_time, id);
DROP INDEX {schema}.backup_runs_success;
