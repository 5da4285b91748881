//! The commands, one a file.

pub(crate) mod healthcheck;
pub(crate) mod master_key;
pub(crate) mod migrate;
pub(crate) mod serve;
pub(crate) mod signing_key;
pub(crate) mod user;

use std::io::{self, Write};

use countersign::{
    app::{self, StartError},
    config::Config,
    domain::{Domain, Error},
    types::Clock,
};

use crate::Exit;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The service, or the part of it that the command needs, does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An argument is not acceptable.
    #[error("{0}")]
    Usage(String),
    /// It was tried, and refused.
    #[error("{0}")]
    Refused(String),
    /// Standard output is closed, or standard input cannot be read.
    #[error("{0}")]
    Output(#[from] io::Error),
}

/// What a use case ended in. Whoever runs a command is told the cause, which clients are not.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::StorageUnavailable(cause) => StartError::from(cause).into(),
            Error::Internal(cause) => StartError::Internal(cause.to_string()).into(),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// The use cases, straight on the database.
async fn domain(config: &Config) -> Result<Domain, Failure> {
    let store = app::connect(config, Clock::System).await?;
    app::ready_schema(config, &store).await?;
    Ok(app::domain(config, store, Clock::System, None).await?)
}

/// Prints a command's answer.
pub(crate) fn print(text: &str) -> Result<Exit, Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    out.flush()?;
    Ok(Exit::Done)
}
