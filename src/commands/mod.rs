//! The commands, one a file.

pub(crate) mod healthcheck;
pub(crate) mod migrate;
pub(crate) mod serve;
pub(crate) mod user;

use std::io::{self, Write};

use countersign::app::StartError;

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

/// Prints a command's answer.
pub(crate) fn print(text: &str) -> Result<Exit, Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end())?;
    out.flush()?;
    Ok(Exit::Done)
}
