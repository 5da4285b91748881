ALTER TABLE events DROP COLUMN actor_key_id;
ALTER TABLE events DROP COLUMN actor_user_id;
ALTER TABLE users DROP COLUMN kind;
