//! What can go wrong in the store, as far as a caller can do something about it.

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::pooled_connection::PoolError;

/// A query's failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A row with this unique value exists.
    #[error("a row with this unique value exists")]
    Conflict,
    /// The database did not answer, or not as expected. The text is for the log, never for a client.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The database answered, but the statement or the data is wrong: a fault of ours. For the log alone, too.
    #[error("the database refused: {0}")]
    Refused(String),
}

/// A query's result.
pub type Result<T> = std::result::Result<T, Error>;

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        match &error {
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Self::Conflict,
            // SQLite reports a full disk, a locked file and an I/O error as `Unknown`, PostgreSQL a time-out.
            DieselError::DatabaseError(
                DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::SerializationFailure
                | DatabaseErrorKind::ReadOnlyTransaction
                | DatabaseErrorKind::Unknown,
                _,
            )
            | DieselError::BrokenTransactionManager
            | DieselError::AlreadyInTransaction
            | DieselError::NotInTransaction
            | DieselError::RollbackErrorOnCommit { .. } => Self::Unavailable(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

impl From<diesel::ConnectionError> for Error {
    fn from(error: diesel::ConnectionError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<bb8::RunError<PoolError>> for Error {
    fn from(error: bb8::RunError<PoolError>) -> Self {
        Self::Unavailable(error.to_string())
    }
}
