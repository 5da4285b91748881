-- What administrators list: accounts that are shut, accounts of programs, events of a kind.
CREATE INDEX users_disabled ON users (id) WHERE disabled_time IS NOT NULL;
CREATE INDEX users_by_kind ON users (kind, id);
CREATE INDEX events_by_action ON events (action, id);
