//! The tables as Diesel sees them: one schema for both databases, kept in step with `migrations/`.

diesel::table! {
    use diesel::sql_types::{Integer, Nullable, Text};
    use crate::store::sql_types::{SqlId, SqlTime};

    users (id) {
        id -> SqlId,
        email -> Text,
        email_normalized -> Text,
        email_verified_time -> Nullable<SqlTime>,
        name -> Text,
        password_hash -> Nullable<Text>,
        password_version -> Integer,
        scopes -> Text,
        disabled_time -> Nullable<SqlTime>,
        create_time -> SqlTime,
        update_time -> SqlTime,
        kind -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::Text;
    use crate::store::sql_types::{SqlId, SqlTime};

    sessions (id) {
        id -> SqlId,
        user_id -> SqlId,
        create_time -> SqlTime,
        last_used_time -> SqlTime,
        expire_time -> SqlTime,
        ip_address -> Text,
        user_agent -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::{Binary, Nullable, Text};
    use crate::store::sql_types::{SqlId, SqlTime};

    refresh_tokens (digest) {
        digest -> Binary,
        session_id -> SqlId,
        predecessor -> Nullable<Binary>,
        create_time -> SqlTime,
        used_time -> Nullable<SqlTime>,
        successor_sealed -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Integer, Nullable, Text};
    use crate::store::sql_types::{SqlId, SqlTime};

    api_keys (id) {
        id -> SqlId,
        user_id -> SqlId,
        name -> Text,
        hint -> Text,
        scopes -> Text,
        create_time -> SqlTime,
        expire_time -> Nullable<SqlTime>,
        last_used_time -> Nullable<SqlTime>,
        revoke_time -> Nullable<SqlTime>,
        rate_requests -> Nullable<Integer>,
        rate_per_micros -> Nullable<BigInt>,
    }
}

diesel::table! {
    use diesel::sql_types::{Binary, Nullable};
    use crate::store::sql_types::{SqlId, SqlTime};

    api_key_secrets (digest) {
        digest -> Binary,
        key_id -> SqlId,
        create_time -> SqlTime,
        expire_time -> Nullable<SqlTime>,
    }
}

diesel::table! {
    use diesel::sql_types::{Integer, Nullable, Text};
    use crate::store::sql_types::SqlTime;

    signing_keys (generation) {
        generation -> Integer,
        kid -> Text,
        secret_sealed -> Text,
        not_before_time -> SqlTime,
        not_after_time -> Nullable<SqlTime>,
        create_time -> Nullable<SqlTime>,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Nullable, Text};
    use crate::store::sql_types::{SqlId, SqlTime, TransactionId};

    changes (id) {
        id -> BigInt,
        // PostgreSQL's alone, filled by its default: only `feed` reads it.
        transaction_id -> TransactionId,
        kind -> Text,
        subject -> Nullable<SqlId>,
        create_time -> SqlTime,
        expire_time -> SqlTime,
    }
}

diesel::table! {
    use diesel::sql_types::{Binary, Text};
    use crate::store::sql_types::{SqlId, SqlTime};

    one_time_tokens (digest) {
        digest -> Binary,
        user_id -> SqlId,
        purpose -> Text,
        email -> Text,
        create_time -> SqlTime,
        expire_time -> SqlTime,
    }
}

diesel::table! {
    use diesel::sql_types::{Integer, Nullable, Text};
    use crate::store::sql_types::{SqlId, SqlTime};

    mails (id) {
        id -> SqlId,
        kind -> Text,
        payload_sealed -> Nullable<Text>,
        attempts -> Integer,
        create_time -> SqlTime,
        due_time -> SqlTime,
        dead_time -> Nullable<SqlTime>,
    }
}

diesel::table! {
    use diesel::sql_types::{Binary, Integer};
    use crate::store::sql_types::SqlTime;

    password_failures (account) {
        account -> Binary,
        failures -> Integer,
        last_failure_time -> SqlTime,
    }
}

diesel::table! {
    use diesel::sql_types::{Binary, Text};
    use crate::store::sql_types::SqlTime;

    rate_windows (key) {
        key -> Binary,
        times -> Text,
        expire_time -> SqlTime,
    }
}

diesel::table! {
    use diesel::sql_types::{Nullable, Text};
    use crate::store::sql_types::{SqlId, SqlTime};

    events (id) {
        id -> SqlId,
        user_id -> Nullable<SqlId>,
        action -> Text,
        outcome -> Text,
        session_id -> Nullable<SqlId>,
        key_id -> Nullable<SqlId>,
        ip_address -> Text,
        user_agent -> Text,
        create_time -> SqlTime,
        actor_user_id -> Nullable<SqlId>,
        actor_key_id -> Nullable<SqlId>,
    }
}

diesel::table! {
    use diesel::sql_types::{Nullable, Text};
    use crate::store::sql_types::{SqlId, SqlTime};

    identities (id) {
        id -> SqlId,
        user_id -> SqlId,
        provider -> Text,
        issuer -> Text,
        subject -> Text,
        email -> Nullable<Text>,
        create_time -> SqlTime,
        last_used_time -> SqlTime,
    }
}

diesel::table! {
    use diesel::sql_types::{Binary, Nullable, Text};
    use crate::store::sql_types::{SqlId, SqlTime};

    oauth_flows (state) {
        state -> Binary,
        flow_secret -> Binary,
        provider -> Text,
        redirect_uri -> Text,
        proofs_sealed -> Text,
        user_id -> Nullable<SqlId>,
        create_time -> SqlTime,
        expire_time -> SqlTime,
    }
}

diesel::joinable!(api_key_secrets -> api_keys (key_id));
diesel::joinable!(api_keys -> users (user_id));
diesel::allow_tables_to_appear_in_same_query!(users, sessions, api_keys, api_key_secrets);
