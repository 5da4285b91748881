//! Who somebody is at a provider, and which account that is.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Conn, Result, Tx, run, schema::identities};
use crate::types::{IdentityId, Time, UserId};

/// One identity.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = identities)]
#[diesel(check_for_backend(diesel::pg::Pg, diesel::sqlite::Sqlite))]
pub struct Identity {
    /// `idt_…`.
    pub id: IdentityId,
    /// Whose.
    pub user_id: UserId,
    /// The name that the configuration gives the provider.
    pub provider: String,
    /// The name that the provider gives itself; unique with the subject (S45).
    pub issuer: String,
    /// By what the provider knows the person.
    pub subject: String,
    /// The address that it vouched for when it was linked.
    pub email: Option<String>,
    /// When it was linked.
    pub create_time: Time,
    /// When somebody last signed in by it.
    pub last_used_time: Time,
}

/// Adds an identity. `Conflict` when it is an account's already.
pub async fn insert(tx: &mut Tx, identity: &Identity) -> Result<()> {
    run!(tx, c => Ok(diesel::insert_into(identities::table).values(identity).execute(c).await?)).map(drop)
}

/// The identity of this subject.
pub async fn find(conn: &mut Conn, issuer: &str, subject: &str) -> Result<Option<Identity>> {
    let query = identities::table.filter(identities::issuer.eq(issuer).and(identities::subject.eq(subject)));
    run!(conn, c => Ok(query.select(Identity::as_select()).first(c).await.optional()?))
}

/// The user's identities, oldest first.
pub async fn list(conn: &mut Conn, user_id: UserId) -> Result<Vec<Identity>> {
    let query = identities::table.filter(identities::user_id.eq(user_id)).order(identities::id);
    run!(conn, c => Ok(query.select(Identity::as_select()).load(c).await?))
}

/// Notes that somebody signed in by it.
pub async fn mark_used(tx: &mut Tx, id: IdentityId, now: Time) -> Result<usize> {
    let query = diesel::update(identities::table.find(id)).set(identities::last_used_time.eq(now));
    run!(tx, c => Ok(query.execute(c).await?))
}

/// Removes one, if it is this user's.
pub async fn delete(tx: &mut Tx, user_id: UserId, id: IdentityId) -> Result<bool> {
    let query = identities::table.find(id).filter(identities::user_id.eq(user_id));
    run!(tx, c => Ok(diesel::delete(query).execute(c).await? == 1))
}

/// Removes all of the user's.
pub async fn delete_all(tx: &mut Tx, user_id: UserId) -> Result<usize> {
    let query = identities::table.filter(identities::user_id.eq(user_id));
    run!(tx, c => Ok(diesel::delete(query).execute(c).await?))
}
