//! Which reason each of the domain's errors has (S63), and the one place where their causes are logged (S64).

use tonic::Status;

use super::{
    pb::ErrorReason as Reason,
    status::{Problem, Violation},
};
use crate::domain::Error;

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let (reason, violation, retry_after) = match error {
            Error::MissingCredential => (Reason::MissingCredential, None, None),
            Error::InvalidCredential => (Reason::InvalidCredential, None, None),
            Error::CredentialExpired => (Reason::CredentialExpired, None, None),
            Error::CredentialRevoked => (Reason::CredentialRevoked, None, None),
            Error::WrongEmailOrPassword => (Reason::WrongEmailOrPassword, None, None),
            Error::RefreshTokenInvalid => (Reason::RefreshTokenInvalid, None, None),
            Error::RefreshTokenReused => (Reason::RefreshTokenReused, None, None),
            Error::InsufficientScope(_) => (Reason::InsufficientScope, None, None),
            Error::AccountDisabled => (Reason::AccountDisabled, None, None),
            Error::SessionRequired => (Reason::SessionRequired, None, None),
            Error::RegistrationClosed => (Reason::RegistrationClosed, None, None),
            Error::EmailAlreadyRegistered => (Reason::EmailAlreadyRegistered, None, None),
            Error::InvalidField { field, description } => {
                (Reason::InvalidField, Some(Violation { field, description }), None)
            }
            Error::PasswordTooCommon { field, description } => {
                (Reason::PasswordTooCommon, Some(Violation { field: field.to_owned(), description }), None)
            }
            Error::NotFound(_) => (Reason::NotFound, None, None),
            Error::TooManyAttempts { retry_after } => (Reason::TooManyAttempts, None, Some(retry_after)),
            Error::Overloaded { retry_after } => (Reason::Overloaded, None, Some(retry_after)),
            Error::LimitReached(_) => (Reason::LimitReached, None, None),
            Error::StorageUnavailable(cause) => {
                tracing::warn!(%cause, "the database is not available");
                (Reason::StorageUnavailable, None, None)
            }
            Error::Internal(cause) => {
                tracing::error!(%cause, "internal error");
                (Reason::Internal, None, None)
            }
        };
        Self { reason, detail, violations: violation.into_iter().collect(), retry_after }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}
