//! How our values stand in each database.
//!
//! Two SQL types whose storage differs: ids are `uuid` on PostgreSQL and blobs on SQLite, times are `timestamptz` and
//! fixed-width text. The rest map to types that both have.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    pg::{Pg, PgValue},
    query_builder::QueryId,
    serialize::{self, IsNull, Output, ToSql},
    sql_types::{BigInt, Binary, SqlType, Text, Timestamp, Timestamptz, Uuid as PgUuid},
    sqlite::Sqlite,
};
use uuid::Uuid;

use crate::types::{
    Digest, EventId, IdentityId, KeyId, MailId, Scopes, SessionId, Time, UserId, UserKind,
    event::{Action, Outcome},
    password::PasswordHash,
};

/// An id's column.
#[derive(Debug, Clone, Copy, SqlType, QueryId)]
#[diesel(postgres_type(oid = 2950, array_oid = 2951), sqlite_type(name = "Binary"))]
pub struct SqlId;

/// An instant's column.
#[derive(Debug, Clone, Copy, SqlType, QueryId)]
#[diesel(postgres_type(oid = 1184, array_oid = 1185), sqlite_type(name = "Text"))]
pub struct SqlTime;

impl diesel::sql_types::SqlOrd for SqlTime {}

/// PostgreSQL's `xid8`. SQLite has none.
#[derive(Debug, Clone, Copy, SqlType, QueryId)]
#[diesel(postgres_type(oid = 5069, array_oid = 271))]
pub struct TransactionId;

/// A transaction's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = TransactionId)]
pub struct Xid(pub i64);

impl ToSql<TransactionId, Pg> for Xid {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        <i64 as ToSql<BigInt, Pg>>::to_sql(&self.0, &mut out.reborrow())
    }
}

impl FromSql<TransactionId, Pg> for Xid {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        <i64 as FromSql<BigInt, Pg>>::from_sql(value).map(Self)
    }
}

type SqliteValue<'a> = <Sqlite as Backend>::RawValue<'a>;

macro_rules! id_column {
    ($id:ident, $proxy:ident) => {
        #[derive(AsExpression, FromSqlRow)]
        #[diesel(foreign_derive, sql_type = SqlId)]
        #[expect(dead_code, reason = "only its derives are used")]
        struct $proxy($id);

        impl ToSql<SqlId, Pg> for $id {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
                <Uuid as ToSql<PgUuid, Pg>>::to_sql(&self.0, &mut out.reborrow())
            }
        }

        impl FromSql<SqlId, Pg> for $id {
            fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
                <Uuid as FromSql<PgUuid, Pg>>::from_sql(value).map(Self)
            }
        }

        impl ToSql<SqlId, Sqlite> for $id {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
                out.set_value(self.0.as_bytes().as_slice());
                Ok(IsNull::No)
            }
        }

        impl FromSql<SqlId, Sqlite> for $id {
            fn from_sql(value: SqliteValue<'_>) -> deserialize::Result<Self> {
                let bytes = <Vec<u8> as FromSql<Binary, Sqlite>>::from_sql(value)?;
                Ok(Self(Uuid::from_slice(&bytes)?))
            }
        }
    };
}

id_column!(UserId, UserIdColumn);
id_column!(SessionId, SessionIdColumn);
id_column!(KeyId, KeyIdColumn);
id_column!(MailId, MailIdColumn);
id_column!(EventId, EventIdColumn);
id_column!(IdentityId, IdentityIdColumn);

/// The id of a row whose kind is told by another column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnyId(pub Uuid);
id_column!(AnyId, AnyIdColumn);

#[derive(AsExpression, FromSqlRow)]
#[diesel(foreign_derive, sql_type = SqlTime)]
#[expect(dead_code, reason = "only its derives are used")]
struct TimeColumn(Time);

impl ToSql<SqlTime, Pg> for Time {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        <DateTime<Utc> as ToSql<Timestamptz, Pg>>::to_sql(self.as_chrono(), &mut out.reborrow())
    }
}

impl FromSql<SqlTime, Pg> for Time {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        <DateTime<Utc> as FromSql<Timestamptz, Pg>>::from_sql(value).map(Self::from)
    }
}

impl ToSql<SqlTime, Sqlite> for Time {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.as_chrono().naive_utc().format("%F %T%.6f").to_string());
        Ok(IsNull::No)
    }
}

impl FromSql<SqlTime, Sqlite> for Time {
    fn from_sql(value: SqliteValue<'_>) -> deserialize::Result<Self> {
        Ok(<NaiveDateTime as FromSql<Timestamp, Sqlite>>::from_sql(value)?.and_utc().into())
    }
}

/// A type that stands in a column which both databases have: `$to` gives what is written, `$from` takes what was read.
macro_rules! common_column {
    ($type:ty, $proxy:ident, $sql:ty, $owned:ty, $to:expr, $from:expr) => {
        #[derive(AsExpression, FromSqlRow)]
        #[diesel(foreign_derive, sql_type = $sql)]
        #[expect(dead_code, reason = "only its derives are used")]
        struct $proxy($type);

        impl ToSql<$sql, Pg> for $type {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
                let value: $owned = $to(self);
                <$owned as ToSql<$sql, Pg>>::to_sql(&value, &mut out.reborrow())
            }
        }

        impl ToSql<$sql, Sqlite> for $type {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
                let value: $owned = $to(self);
                out.set_value(value);
                Ok(IsNull::No)
            }
        }

        impl<DB: Backend> FromSql<$sql, DB> for $type
        where
            $owned: FromSql<$sql, DB>,
        {
            fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
                let value = <$owned as FromSql<$sql, DB>>::from_sql(value)?;
                $from(value)
            }
        }
    };
}

fn digest_bytes(digest: &Digest) -> Vec<u8> {
    digest.0.to_vec()
}

fn digest_of(bytes: Vec<u8>) -> deserialize::Result<Digest> {
    Ok(Digest(bytes.try_into().map_err(|_| "a digest has 32 bytes")?))
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `common_column` calls")]
fn scopes_of(list: String) -> deserialize::Result<Scopes> {
    Ok(Scopes::parse_list(&list)?)
}

fn phc(hash: &PasswordHash) -> String {
    hash.expose().to_owned()
}

#[expect(clippy::unnecessary_wraps, reason = "the form that `common_column` calls")]
fn password_hash_of(phc: String) -> deserialize::Result<PasswordHash> {
    Ok(PasswordHash::new(phc))
}

common_column!(Digest, DigestColumn, Binary, Vec<u8>, digest_bytes, digest_of);
common_column!(Scopes, ScopesColumn, Text, String, Scopes::to_list, scopes_of);
common_column!(
    Action,
    ActionColumn,
    Text,
    String,
    |action: &Action| action.as_str().to_owned(),
    |name: String| Ok(Action::from_name(&name))
);
common_column!(
    Outcome,
    OutcomeColumn,
    Text,
    String,
    |outcome: &Outcome| outcome.as_str().to_owned(),
    |name: String| Ok(Outcome::from_name(&name))
);
common_column!(
    UserKind,
    UserKindColumn,
    Text,
    String,
    |kind: &UserKind| kind.as_str().to_owned(),
    |name: String| Ok(UserKind::from_name(&name))
);
common_column!(PasswordHash, PasswordHashColumn, Text, String, phc, password_hash_of);
