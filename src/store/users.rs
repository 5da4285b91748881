//! Accounts.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Conn, Result, Tx, run, schema::users};
use crate::types::{Email, Scopes, Time, UserId, UserKind, password::PasswordHash};

/// An account.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = users)]
#[diesel(check_for_backend(diesel::pg::Pg, diesel::sqlite::Sqlite))]
pub struct User {
    /// `usr_…`.
    pub id: UserId,
    /// The address as it was given; empty where there is none.
    pub email: String,
    /// The address as it is compared; unique. A service account has a text instead that no address can be.
    pub email_normalized: String,
    /// When control of the address was proven.
    pub email_verified_time: Option<Time>,
    /// Display name; may be empty.
    pub name: String,
    /// Absent where the account has no password.
    pub password_hash: Option<PasswordHash>,
    /// Grows with each change of the password, but not when an unchanged one is hashed anew.
    pub password_version: i32,
    /// What the account may do.
    pub scopes: Scopes,
    /// Set while the account is disabled.
    pub disabled_time: Option<Time>,
    /// When it was made.
    pub create_time: Time,
    /// When it was last changed.
    pub update_time: Time,
    /// Whose it is.
    pub kind: UserKind,
}

impl User {
    /// An account without a password, made now. Without an address, it is a service account.
    pub fn new(email: Option<&Email>, name: &str, scopes: Scopes, now: Time) -> Self {
        let id = UserId::generate(now);
        let kind = if email.is_some() { UserKind::Person } else { UserKind::ServiceAccount };
        Self {
            id,
            email: email.map(|email| email.as_given().to_owned()).unwrap_or_default(),
            // Every address has an `@`.
            email_normalized: email.map_or_else(|| id.to_string(), |email| email.normalized().to_owned()),
            email_verified_time: None,
            name: name.to_owned(),
            password_hash: None,
            password_version: 1,
            scopes,
            disabled_time: None,
            create_time: now,
            update_time: now,
            kind,
        }
    }
}

/// What of an account bears on its credentials.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = users)]
#[diesel(check_for_backend(diesel::pg::Pg, diesel::sqlite::Sqlite))]
pub struct Owner {
    /// As in [`User`].
    pub disabled_time: Option<Time>,
    /// As in [`User`].
    pub scopes: Scopes,
}

/// What of an account a password is compared with. No more is read than that: what takes time to read would tell that the
/// account exists (S15).
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = users)]
#[diesel(check_for_backend(diesel::pg::Pg, diesel::sqlite::Sqlite))]
pub struct Login {
    /// As in [`User`].
    pub id: UserId,
    /// As in [`User`].
    pub password_hash: Option<PasswordHash>,
    /// As in [`User`].
    pub password_version: i32,
}

/// Adds an account. `Conflict` when the address has one.
pub async fn insert(tx: &mut Tx, user: &User) -> Result<()> {
    run!(tx, c => Ok(diesel::insert_into(users::table).values(user).execute(c).await?)).map(drop)
}

/// Adds an account, unless the address has one. Says whether it did.
pub async fn insert_if_absent(tx: &mut Tx, user: &User) -> Result<bool> {
    let query = diesel::insert_into(users::table).values(user).on_conflict_do_nothing();
    run!(tx, c => Ok(query.execute(c).await? == 1))
}

/// Which accounts are listed.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// People's whose address begins with this, as [`Email::prefix`] has it.
    pub email_prefix: Option<String>,
    /// Those that are shut, or those that are not.
    pub disabled: Option<bool>,
    /// Those of this kind.
    pub kind: Option<UserKind>,
}

/// Accounts, newest first, from the one after `after` on.
pub async fn list(conn: &mut Conn, filter: &Filter, after: Option<UserId>, limit: i64) -> Result<Vec<User>> {
    let pattern = filter.email_prefix.as_deref().map(beginning_with);
    run!(conn, c => {
        let mut query = users::table.select(User::as_select()).order(users::id.desc()).limit(limit).into_boxed();
        if let Some(after) = after {
            query = query.filter(users::id.lt(after));
        }
        if let Some(pattern) = &pattern {
            query = query
                .filter(users::kind.eq(UserKind::Person))
                .filter(users::email_normalized.like(pattern).escape('\\'));
        }
        if let Some(kind) = filter.kind {
            query = query.filter(users::kind.eq(kind));
        }
        match filter.disabled {
            Some(true) => query = query.filter(users::disabled_time.is_not_null()),
            Some(false) => query = query.filter(users::disabled_time.is_null()),
            None => {}
        }
        Ok(query.load(c).await?)
    })
}

/// A pattern of `LIKE`, in which nothing of the text is special.
fn beginning_with(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// What bears on the credentials of these accounts, as far as they exist.
pub async fn find_owners(conn: &mut Conn, ids: &[UserId]) -> Result<HashMap<UserId, Owner>> {
    let query = users::table.filter(users::id.eq_any(ids));
    let owners: Vec<(UserId, Owner)> =
        run!(conn, c => Ok(query.select((users::id, Owner::as_select())).load(c).await?))?;
    Ok(owners.into_iter().collect())
}

/// The account with this id.
pub async fn find(conn: &mut Conn, id: UserId) -> Result<Option<User>> {
    run!(conn, c => Ok(users::table.find(id).select(User::as_select()).first(c).await.optional()?))
}

/// The account of this address, as it is compared (S9).
pub async fn find_by_email(conn: &mut Conn, normalized: &str) -> Result<Option<User>> {
    let query = users::table.filter(users::email_normalized.eq(normalized));
    run!(conn, c => Ok(query.select(User::as_select()).first(c).await.optional()?))
}

/// What a password for the account of this address is compared with.
pub async fn find_login(conn: &mut Conn, normalized: &str) -> Result<Option<Login>> {
    let query = users::table.filter(users::email_normalized.eq(normalized));
    run!(conn, c => Ok(query.select(Login::as_select()).first(c).await.optional()?))
}

/// The account with this id, kept from any other transaction's writing until this one ends.
pub async fn lock(tx: &mut Tx, id: UserId) -> Result<Option<User>> {
    let query = diesel::update(users::table.find(id)).set(users::update_time.eq(users::update_time));
    run!(tx, c => Ok(query.returning(User::as_returning()).get_result(c).await.optional()?))
}

/// Changes the display name.
pub async fn set_name(tx: &mut Tx, id: UserId, name: &str, now: Time) -> Result<Option<User>> {
    let query = diesel::update(users::table.find(id)).set((users::name.eq(name), users::update_time.eq(now)));
    run!(tx, c => Ok(query.returning(User::as_returning()).get_result(c).await.optional()?))
}

/// Sets a new password.
pub async fn set_password(tx: &mut Tx, id: UserId, hash: &PasswordHash, now: Time) -> Result<usize> {
    let query = diesel::update(users::table.find(id)).set((
        users::password_hash.eq(hash),
        users::password_version.eq(users::password_version + 1),
        users::update_time.eq(now),
    ));
    run!(tx, c => Ok(query.execute(c).await?))
}

/// Notes that control of the address has been proven.
pub async fn set_email_verified(tx: &mut Tx, id: UserId, now: Time) -> Result<Option<User>> {
    let query = diesel::update(users::table.find(id))
        .set((users::email_verified_time.eq(now), users::update_time.eq(now)));
    run!(tx, c => Ok(query.returning(User::as_returning()).get_result(c).await.optional()?))
}

/// Gives the account another address, which is proven. `Conflict` when another account has it.
pub async fn set_email(tx: &mut Tx, id: UserId, email: &Email, now: Time) -> Result<Option<User>> {
    let query = diesel::update(users::table.find(id)).set((
        users::email.eq(email.as_given()),
        users::email_normalized.eq(email.normalized()),
        users::email_verified_time.eq(now),
        users::update_time.eq(now),
    ));
    run!(tx, c => Ok(query.returning(User::as_returning()).get_result(c).await.optional()?))
}

/// Takes the password away.
pub async fn remove_password(tx: &mut Tx, id: UserId, now: Time) -> Result<usize> {
    let query = diesel::update(users::table.find(id)).set((
        users::password_hash.eq(None::<PasswordHash>),
        users::password_version.eq(users::password_version + 1),
        users::update_time.eq(now),
    ));
    run!(tx, c => Ok(query.execute(c).await?))
}

/// Shuts or opens the account.
pub async fn set_disabled(tx: &mut Tx, id: UserId, disabled_time: Option<Time>, now: Time) -> Result<usize> {
    let query = diesel::update(users::table.find(id))
        .set((users::disabled_time.eq(disabled_time), users::update_time.eq(now)));
    run!(tx, c => Ok(query.execute(c).await?))
}

/// Changes what the account may do.
pub async fn set_scopes(tx: &mut Tx, id: UserId, scopes: &Scopes, now: Time) -> Result<usize> {
    let query =
        diesel::update(users::table.find(id)).set((users::scopes.eq(scopes), users::update_time.eq(now)));
    run!(tx, c => Ok(query.execute(c).await?))
}

/// Replaces the hash of an unchanged password (S6). The account's owner changed nothing, so its update time stays.
pub async fn rehash_password(tx: &mut Tx, id: UserId, hash: &PasswordHash) -> Result<usize> {
    let query = diesel::update(users::table.find(id)).set(users::password_hash.eq(hash));
    run!(tx, c => Ok(query.execute(c).await?))
}

/// Removes the account, and by cascade its sessions and keys.
pub async fn delete(tx: &mut Tx, id: UserId) -> Result<usize> {
    run!(tx, c => Ok(diesel::delete(users::table.find(id)).execute(c).await?))
}
