DROP TABLE events;
DROP TABLE rate_windows;
DROP TABLE password_failures;
DROP TABLE mails;
DROP TABLE one_time_tokens;
DROP INDEX changes_by_expiry;
DROP INDEX sessions_by_expiry;
