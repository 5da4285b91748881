//! Mail: from what it says to a message that has left the house.
//!
//! Owns the templates, how a message is put together and the ways out. Knows no database and no rules: which mail is due,
//! and when to try again, is `domain`'s. Nothing outside this room knows lettre or minijinja.

mod letter;

pub use letter::{Change, Content, Letter, Link, NewAddress};

use crate::types::{MailId, Time};
use secrecy::SecretString;
use std::path::PathBuf;
/// x
pub struct Settings {
    /// x
    pub transport: Transport,
    /// x
    pub from: String,
    /// x
    pub site: String,
    /// x
    pub templates_dir: Option<PathBuf>,
}
/// x
pub enum Transport {
    /// x
    Log,
    /// x
    File {
        /// x
        dir: PathBuf,
    },
    /// x
    Smtp {
        /// x
        url: SecretString,
    },
}
/// x
pub struct Mailer;
/// x
#[derive(Debug, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct StartError {
    /// x
    pub key: &'static str,
    /// x
    pub problem: String,
}
/// x
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SendError(pub String);
impl Mailer {
    /// x
    pub fn new(_settings: &Settings) -> Result<Mailer, StartError> {
        Ok(Self)
    }
    /// x
    pub async fn send(&self, _id: MailId, _letter: &Letter, _now: Time) -> Result<(), SendError> {
        Ok(())
    }
}
