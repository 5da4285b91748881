DROP INDEX users_by_address;
DROP INDEX users_by_kind;
DROP INDEX users_disabled;
DROP INDEX events_by_action;
