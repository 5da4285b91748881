//! Which reason each of the domain's errors has (S63), and the one place where their causes are logged (S64).

use tonic::Status;

use super::{
    pb::ErrorReason as Reason,
    status::{Problem, Violation},
};
use crate::domain::Error;

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let reason = match &error {
            Error::MissingCredential => Reason::MissingCredential,
            Error::InvalidCredential => Reason::InvalidCredential,
            Error::CredentialExpired => Reason::CredentialExpired,
            Error::CredentialRevoked => Reason::CredentialRevoked,
            Error::WrongEmailOrPassword => Reason::WrongEmailOrPassword,
            Error::RefreshTokenInvalid => Reason::RefreshTokenInvalid,
            Error::RefreshTokenReused => Reason::RefreshTokenReused,
            Error::InsufficientScope(_) => Reason::InsufficientScope,
            Error::AccountDisabled => Reason::AccountDisabled,
            Error::EmailNotVerified => Reason::EmailNotVerified,
            Error::OneTimeTokenInvalid => Reason::OneTimeTokenInvalid,
            Error::UnknownProvider => Reason::UnknownProvider,
            Error::RedirectUriNotAllowed => Reason::RedirectUriNotAllowed,
            Error::OauthStateInvalid => Reason::OauthStateInvalid,
            Error::OauthCodeRefused => Reason::OauthCodeRefused,
            Error::ProviderUnavailable => Reason::ProviderUnavailable,
            Error::IdentityAlreadyLinked => Reason::IdentityAlreadyLinked,
            Error::LastWayIn => Reason::LastWayIn,
            Error::SessionRequired => Reason::SessionRequired,
            Error::RegistrationClosed => Reason::RegistrationClosed,
            Error::EmailAlreadyRegistered => Reason::EmailAlreadyRegistered,
            Error::InvalidField { .. } => Reason::InvalidField,
            Error::PasswordTooCommon { .. } => Reason::PasswordTooCommon,
            Error::NotFound(_) => Reason::NotFound,
            Error::TooManyAttempts { .. } => Reason::TooManyAttempts,
            Error::Overloaded { .. } => Reason::Overloaded,
            Error::LimitReached(_) => Reason::LimitReached,
            Error::StorageUnavailable(_) => Reason::StorageUnavailable,
            Error::Internal(_) | Error::Taken => Reason::Internal,
        };
        let mut problem = Self::new(reason, error.to_string());
        match error {
            Error::InvalidField { field, description } => {
                problem.violations.push(Violation { field, description });
            }
            Error::PasswordTooCommon { field, description } => {
                problem.violations.push(Violation { field: field.to_owned(), description });
            }
            Error::TooManyAttempts { retry_after } | Error::Overloaded { retry_after } => {
                problem.retry_after = Some(retry_after);
            }
            // At every call while it is away, which would drown the log. `worker` tells when it goes and comes.
            Error::StorageUnavailable(cause) => tracing::debug!(%cause, "the database is not available"),
            Error::Internal(cause) => tracing::error!(%cause, "internal error"),
            _ => {}
        }
        problem
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}
