-- What rls=True adds, after the numbered files: a statement sees and writes the rows of the tenant that its own
-- transaction names, and fails where it names none. FORCE holds the owner of the tables to it too. It is applied again
-- after each migration of a schema that has it, so that a new table has it too.

ALTER TABLE {schema}.backup_agents ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON {schema}.backup_agents;
CREATE POLICY tenant ON {schema}.backup_agents
USING (tenant_id = (SELECT current_setting('backuplog.tenant_id')::uuid));

ALTER TABLE {schema}.backup_runs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON {schema}.backup_runs;
CREATE POLICY tenant ON {schema}.backup_runs
USING (tenant_id = (SELECT current_setting('backuplog.tenant_id')::uuid));

ALTER TABLE {schema}.backup_run_logs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON {schema}.backup_run_logs;
CREATE POLICY tenant ON {schema}.backup_run_logs
USING (tenant_id = (SELECT current_setting('backuplog.tenant_id')::uuid));

ALTER TABLE {schema}.backup_agent_tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON {schema}.backup_agent_tokens;
CREATE POLICY tenant ON {schema}.backup_agent_tokens
USING (tenant_id = (SELECT current_setting('backuplog.tenant_id')::uuid));
