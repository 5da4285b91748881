-- What was mailed to prove an address or to set a password. One that was used or voided has no row.
CREATE TABLE one_time_tokens (
    digest bytea PRIMARY KEY CHECK (octet_length(digest) = 32),  -- SHA-256
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    purpose text NOT NULL,
    email text NOT NULL,                    -- the address that it was mailed to, as it was given
    create_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    UNIQUE (user_id, purpose)               -- a newer one voids the older
);
CREATE INDEX one_time_tokens_by_expiry ON one_time_tokens (expire_time);

-- Mails that are to be sent. One that was delivered has no row.
CREATE TABLE mails (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    payload_sealed text,                    -- NULL once it is dead
    attempts integer NOT NULL,
    create_time timestamptz NOT NULL,
    due_time timestamptz NOT NULL,          -- while somebody sends it: the end of the lease
    dead_time timestamptz                   -- when it was given up
);
CREATE INDEX mails_due ON mails (due_time) WHERE dead_time IS NULL;
CREATE INDEX mails_dead ON mails (dead_time) WHERE dead_time IS NOT NULL;

-- Consecutive failures by password, by e-mail address, whether or not it has an account.
CREATE TABLE password_failures (
    account bytea PRIMARY KEY CHECK (octet_length(account) = 32),  -- SHA-256 of the address as it is compared
    failures integer NOT NULL,
    last_failure_time timestamptz NOT NULL
);
CREATE INDEX password_failures_by_age ON password_failures (last_failure_time);

-- The last times that something happened which may happen so often in a span.
CREATE TABLE rate_windows (
    key bytea PRIMARY KEY CHECK (octet_length(key) = 32),  -- SHA-256 of what is counted
    times text NOT NULL,                    -- microseconds since 1970, space-separated, oldest first
    expire_time timestamptz NOT NULL        -- when all of them are out of the span
);
CREATE INDEX rate_windows_by_expiry ON rate_windows (expire_time);

-- The audit trail: rows are added and, when old, swept. No foreign keys: it outlives what it speaks of.
CREATE TABLE events (
    id uuid PRIMARY KEY,
    user_id uuid,                           -- NULL where no account is meant
    action text NOT NULL,
    outcome text NOT NULL,
    session_id uuid,
    key_id uuid,
    ip_address text NOT NULL,
    user_agent text NOT NULL,
    create_time timestamptz NOT NULL
);
CREATE INDEX events_by_user ON events (user_id, id);
CREATE INDEX events_by_age ON events (create_time);

-- For the sweeper.
CREATE INDEX sessions_by_expiry ON sessions (expire_time);
CREATE INDEX changes_by_expiry ON changes (expire_time);
