CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text NOT NULL,                    -- as it was given
    email_normalized text NOT NULL UNIQUE,  -- as it is compared
    email_verified_time timestamptz,
    name text NOT NULL,
    password_hash text,                     -- PHC string
    password_version integer NOT NULL,      -- grows with each change of the password, not with a rehash
    scopes text NOT NULL,                   -- space-separated
    disabled_time timestamptz,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL
);

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    create_time timestamptz NOT NULL,
    last_used_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,       -- the sooner of the idle and the absolute limit
    ip_address text NOT NULL,
    user_agent text NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id, id);

CREATE TABLE refresh_tokens (
    digest bytea PRIMARY KEY CHECK (octet_length(digest) = 32),  -- SHA-256
    session_id uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
    predecessor bytea,                      -- the digest of the token that it was exchanged for
    create_time timestamptz NOT NULL,
    used_time timestamptz,                  -- set once, by whoever wins
    successor_sealed text                   -- the token that it was exchanged for, while that may be answered again
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_in_grace ON refresh_tokens (used_time) WHERE successor_sealed IS NOT NULL;

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    name text NOT NULL,
    hint text NOT NULL,
    scopes text NOT NULL,                   -- space-separated
    create_time timestamptz NOT NULL,
    expire_time timestamptz,
    last_used_time timestamptz,
    revoke_time timestamptz,
    rate_requests integer,
    rate_per_micros bigint,
    CHECK ((rate_requests IS NULL) = (rate_per_micros IS NULL))
);
CREATE INDEX api_keys_by_user ON api_keys (user_id, id);

CREATE TABLE api_key_secrets (
    digest bytea PRIMARY KEY CHECK (octet_length(digest) = 32),  -- SHA-256
    key_id uuid NOT NULL REFERENCES api_keys ON DELETE CASCADE,
    create_time timestamptz NOT NULL,
    expire_time timestamptz                 -- NULL for the current secret, the end of its grace for a rotated one
);
CREATE INDEX api_key_secrets_by_key ON api_key_secrets (key_id);

CREATE TABLE signing_keys (
    generation integer PRIMARY KEY,         -- two replicas that rotate at once make one key
    kid text NOT NULL UNIQUE,
    secret_sealed text NOT NULL,
    not_before_time timestamptz NOT NULL,
    not_after_time timestamptz
);

-- What other replicas' memory must learn. No foreign keys: a cascade must not bring a credential back to life.
CREATE TABLE changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    kind text NOT NULL,
    subject uuid,                           -- NULL where the kind says it all
    create_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL
);
CREATE INDEX changes_by_transaction ON changes (transaction_id);
