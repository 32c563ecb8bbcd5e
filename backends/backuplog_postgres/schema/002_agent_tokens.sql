-- What is stored of agents' tokens: a prefix to find them by, and a hash.
CREATE TABLE {schema}.agent_tokens (
    tenant_id uuid NOT NULL,
    prefix text NOT NULL,
    agent_id uuid NOT NULL,
    digest bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (tenant_id, prefix)
);

CREATE INDEX agent_tokens_agent ON {schema}.agent_tokens (tenant_id, agent_id, created_at, prefix);
