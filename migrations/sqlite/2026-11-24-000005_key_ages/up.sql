-- When a signing key was made, which is before it signs. NULL where a version without this column made it, as the first key.
ALTER TABLE signing_keys ADD COLUMN create_time text;
UPDATE signing_keys SET create_time = not_before_time;
