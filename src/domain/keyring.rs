//! Reading the signing keys at start, making the first, and publishing their public halves.

use std::sync::{PoisonError, RwLockReadGuard};

use super::Domain;
use crate::{
    crypto::{CryptoError, KeyRing, MasterKey, SigningKey},
    store::{self, Conn, Store, Tx, signing_keys},
    types::Time,
};

/// The public half of a signing key.
#[derive(Debug)]
pub struct VerificationKey {
    /// PASERK `k4.pid.…`.
    pub kid: String,
    /// PASERK `k4.public.…`.
    pub public_key: String,
    /// The same as RFC 8032 writes it, in 32 bytes.
    pub ed25519: Vec<u8>,
    /// When it begins to sign.
    pub not_before_time: Time,
    /// When the last token signed by it has expired.
    pub not_after_time: Option<Time>,
}

impl Domain {
    /// The keys with which services verify access tokens themselves.
    pub fn verification_keys(&self) -> Vec<VerificationKey> {
        let public_half = |key: &SigningKey| VerificationKey {
            kid: key.kid.to_string(),
            public_key: key.paserk(),
            ed25519: key.ed25519().to_vec(),
            not_before_time: key.not_before_time,
            not_after_time: key.not_after_time,
        };
        self.keys().published(self.clock.now()).map(public_half).collect()
    }

    /// The key ring. The guard is not held across an await.
    pub(super) fn keys(&self) -> RwLockReadGuard<'_, KeyRing> {
        // Nothing panics while it holds this lock.
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_keys(&self, ring: KeyRing) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = ring;
    }
}

/// Why there are no signing keys.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The keys were sealed under another master key.
    #[error(
        "does not open signing key {0}, which was sealed under another master key: name that one in \
         secrets.previous_master_keys"
    )]
    WrongMasterKey(String),
    /// No key could be made.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// Reads all keys. Where there is none, makes the first; of several replicas that do so at once, one wins.
pub(super) async fn load(store: &Store, master: &MasterKey) -> Result<KeyRing, LoadError> {
    let mut conn = store.conn().await?;
    if signing_keys::list(&mut conn).await?.is_empty() {
        match store.tx(async |tx| make_first(tx, master).await).await {
            // A conflict means that another replica made it.
            Ok(()) | Err(LoadError::Store(store::Error::Conflict)) => {}
            Err(error) => return Err(error),
        }
    }
    read(&mut conn, master).await
}

/// Reads all keys.
async fn read(conn: &mut Conn, master: &MasterKey) -> Result<KeyRing, LoadError> {
    let rows = signing_keys::list(conn).await?;
    let open = |row: signing_keys::SigningKey| opened(master, &row).ok_or(LoadError::WrongMasterKey(row.kid));
    Ok(KeyRing::new(rows.into_iter().map(open).collect::<Result<_, _>>()?))
}

/// Reads all keys again. One that does not open is taken from `known`, or left out: it must not keep one that was retired
/// in force (S30).
pub(super) async fn read_again(
    conn: &mut Conn,
    master: &MasterKey,
    known: impl Fn(&str) -> Option<SigningKey>,
) -> Result<KeyRing, store::Error> {
    let rows = signing_keys::list(conn).await?;
    let open = |row: signing_keys::SigningKey| {
        let mut key = opened(master, &row).or_else(|| {
            let error = LoadError::WrongMasterKey(row.kid.clone());
            tracing::error!("secrets.master_key: {error}");
            known(&row.kid)
        })?;
        (key.not_before_time, key.not_after_time) = (row.not_before_time, row.not_after_time);
        Some(key)
    };
    Ok(KeyRing::new(rows.into_iter().filter_map(open).collect()))
}

fn opened(master: &MasterKey, row: &signing_keys::SigningKey) -> Option<SigningKey> {
    SigningKey::open(master, &row.kid, &row.secret_sealed, row.not_before_time, row.not_after_time)
}

async fn make_first(tx: &mut Tx, master: &MasterKey) -> Result<(), LoadError> {
    let now = tx.now().await?;
    let row = new_row(master, 1, now, now)?;
    Ok(signing_keys::insert(tx, &row).await?)
}

/// A new key that signs from `not_before_time` on.
pub(super) fn new_row(
    master: &MasterKey,
    generation: i32,
    now: Time,
    not_before_time: Time,
) -> Result<signing_keys::SigningKey, CryptoError> {
    let key = SigningKey::generate(not_before_time)?;
    Ok(signing_keys::SigningKey {
        generation,
        secret_sealed: key.seal(master)?,
        not_before_time,
        not_after_time: None,
        kid: key.kid.to_string(),
        create_time: Some(now),
    })
}
