DROP TABLE changes;
DROP TABLE signing_keys;
DROP TABLE api_key_secrets;
DROP TABLE api_keys;
DROP TABLE refresh_tokens;
DROP TABLE sessions;
DROP TABLE users;
