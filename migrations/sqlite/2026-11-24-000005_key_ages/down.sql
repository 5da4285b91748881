ALTER TABLE signing_keys DROP COLUMN create_time;
