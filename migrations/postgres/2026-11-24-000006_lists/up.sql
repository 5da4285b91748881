-- What administrators list: accounts that are shut, accounts of programs, events of a kind.
CREATE INDEX users_disabled ON users (id) WHERE disabled_time IS NOT NULL;
CREATE INDEX users_by_kind ON users (kind, id);
-- People whose address begins with something. SQLite's `LIKE` with an escape uses no index: there it walks along the accounts.
CREATE INDEX users_by_address ON users (email_normalized text_pattern_ops);
CREATE INDEX events_by_action ON events (action, id);
