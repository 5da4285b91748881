-- Accounts for programs. They have no address: `email` is empty, and `email_normalized` a text that no address can be.
ALTER TABLE users ADD COLUMN kind text NOT NULL DEFAULT 'person';

-- Who did it, where that is an administrator and not the account's owner.
ALTER TABLE events ADD COLUMN actor_user_id uuid;
ALTER TABLE events ADD COLUMN actor_key_id uuid;
