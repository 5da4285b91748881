"""Databases full of API keys, some of them with secrets that are known here."""

import hashlib
import secrets
import string
import subprocess
import zlib
from pathlib import Path

from .service import BINARY, Database, psql

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase

# `looked_up` numbers the keys whose secrets are known, evenly among all. Ids grow with time, as the service makes them.
FILL = """
CREATE TEMPORARY TABLE looked_up (n bigint, digest bytea);
COPY looked_up FROM STDIN;
{rows}
\\.
CREATE FUNCTION pg_temp.id(n bigint) RETURNS uuid LANGUAGE sql AS $$
    SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || overlay('7...8' placing substr(md5(n::text), 1, 3) from 2)
        || substr(md5(n::text), 4, 15))::uuid
$$;
INSERT INTO users (id, email, email_normalized, name, password_version, scopes, create_time, update_time)
    SELECT pg_temp.id(n), n || '@example.org', n || '@example.org', '', 0, '', now(), now()
    FROM generate_series(0, {owners} - 1) n;
INSERT INTO api_keys (id, user_id, name, hint, scopes, create_time)
    SELECT pg_temp.id(n), pg_temp.id(n % {owners}), 'bench', 'ak_0000…0000', '', now() FROM generate_series(0, {count} - 1) n;
INSERT INTO api_key_secrets (digest, key_id, create_time)
    SELECT coalesce(digest, sha256(n::text::bytea)), pg_temp.id(n), now()
    FROM generate_series(0, {count} - 1) n LEFT JOIN looked_up USING (n);
VACUUM ANALYZE;
"""


def secret() -> str:
    """As `src/crypto/api_key.rs` makes them: random characters, and the CRC32 of what precedes it in base62."""
    text = "ak_" + "".join(secrets.choice(ALPHABET) for _ in range(43))
    rest, checksum = zlib.crc32(text.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        checksum = ALPHABET[digit] + checksum
    return text + checksum


def filled(beside: Database, count: int, known: int) -> tuple[Database, Path]:
    """A database with `count` keys, and a file with the secrets of `known` of them."""
    database = Database("PostgreSQL", beside.directory, beside.cluster, f"keys_{count}")
    quietly = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([BINARY, "migrate"], env=database.environment, cwd=database.directory, **quietly)
    texts = [secret() for _ in range(min(known, count))]
    rows = (f"{n * count // len(texts)}\t\\\\x{hashlib.sha256(text.encode()).hexdigest()}" for n, text in enumerate(texts))
    psql(database.url, FILL.format(rows="\n".join(rows), count=count, owners=max(1, count // 10)))
    file = database.directory / "secrets"
    file.write_text("\n".join(texts) + "\n")
    return database, file
