-- Ids are 16-byte blobs, times are fixed-width UTC text (`YYYY-MM-DD HH:MM:SS.ffffff`), so that both sort.

CREATE TABLE users (
    id blob PRIMARY KEY NOT NULL,
    email text NOT NULL,                    -- as it was given
    email_normalized text NOT NULL UNIQUE,  -- as it is compared
    email_verified_time text,
    name text NOT NULL,
    password_hash text,                     -- PHC string
    password_version integer NOT NULL,      -- grows with each change of the password, not with a rehash
    scopes text NOT NULL,                   -- space-separated
    disabled_time text,
    create_time text NOT NULL,
    update_time text NOT NULL
) STRICT;

CREATE TABLE sessions (
    id blob PRIMARY KEY NOT NULL,
    user_id blob NOT NULL REFERENCES users ON DELETE CASCADE,
    create_time text NOT NULL,
    last_used_time text NOT NULL,
    expire_time text NOT NULL,              -- the sooner of the idle and the absolute limit
    ip_address text NOT NULL,
    user_agent text NOT NULL
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id, id);

CREATE TABLE refresh_tokens (
    digest blob PRIMARY KEY NOT NULL CHECK (length(digest) = 32),  -- SHA-256
    session_id blob NOT NULL REFERENCES sessions ON DELETE CASCADE,
    predecessor blob,                       -- the digest of the token that it was exchanged for
    create_time text NOT NULL,
    used_time text,                         -- set once, by whoever wins
    successor_sealed text                   -- the token that it was exchanged for, while that may be answered again
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_in_grace ON refresh_tokens (used_time) WHERE successor_sealed IS NOT NULL;

CREATE TABLE api_keys (
    id blob PRIMARY KEY NOT NULL,
    user_id blob NOT NULL REFERENCES users ON DELETE CASCADE,
    name text NOT NULL,
    hint text NOT NULL,
    scopes text NOT NULL,                   -- space-separated
    create_time text NOT NULL,
    expire_time text,
    last_used_time text,
    revoke_time text,
    rate_requests integer,
    rate_per_micros integer,
    CHECK ((rate_requests IS NULL) = (rate_per_micros IS NULL))
) STRICT;
CREATE INDEX api_keys_by_user ON api_keys (user_id, id);

CREATE TABLE api_key_secrets (
    digest blob PRIMARY KEY NOT NULL CHECK (length(digest) = 32),  -- SHA-256
    key_id blob NOT NULL REFERENCES api_keys ON DELETE CASCADE,
    create_time text NOT NULL,
    expire_time text                        -- NULL for the current secret, the end of its grace for a rotated one
) STRICT, WITHOUT ROWID;
CREATE INDEX api_key_secrets_by_key ON api_key_secrets (key_id);

CREATE TABLE signing_keys (
    generation integer PRIMARY KEY NOT NULL,
    kid text NOT NULL UNIQUE,
    secret_sealed text NOT NULL,
    not_before_time text NOT NULL,
    not_after_time text
) STRICT;

-- What other replicas' memory must learn. No foreign keys: a cascade must not bring a credential back to life.
CREATE TABLE changes (
    id integer PRIMARY KEY AUTOINCREMENT NOT NULL,
    kind text NOT NULL,
    subject blob,                           -- NULL where the kind says it all
    create_time text NOT NULL,
    expire_time text NOT NULL
) STRICT;
