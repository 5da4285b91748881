-- Who somebody is at a provider, and which account that is.
CREATE TABLE identities (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    provider text NOT NULL,                 -- the name that the configuration gives it
    issuer text NOT NULL,                   -- the name that it gives itself
    subject text NOT NULL,
    email text,                             -- the address that it had when it was linked, if verified
    create_time timestamptz NOT NULL,
    last_used_time timestamptz NOT NULL,
    UNIQUE (issuer, subject)
);
CREATE INDEX identities_by_user ON identities (user_id, id);

-- Sign-ins that were started here and have not come back. One that has has no row.
CREATE TABLE oauth_flows (
    state bytea PRIMARY KEY CHECK (octet_length(state) = 32),    -- SHA-256
    flow_secret bytea NOT NULL CHECK (octet_length(flow_secret) = 32),
    provider text NOT NULL,
    redirect_uri text NOT NULL,
    proofs_sealed text NOT NULL,            -- code verifier and nonce
    user_id uuid REFERENCES users ON DELETE CASCADE,  -- whose account the identity is to be linked to; NULL for a sign-in
    create_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL
);
CREATE INDEX oauth_flows_by_expiry ON oauth_flows (expire_time);
CREATE INDEX oauth_flows_by_user ON oauth_flows (user_id) WHERE user_id IS NOT NULL;
