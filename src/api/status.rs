//! The one table of errors: what a [`Reason`] is as a gRPC code, an HTTP status and a title; and a [`Problem`], which
//! is written as a gRPC status or as an RFC 9457 problem and read back from a status. It does not know which fault of the
//! domain has which reason. Handlers, layers and the REST door use it. It is long for its
//! tables, which belong in one place.

use std::{collections::HashMap, time::Duration};

use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde_json::json;
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use super::pb::ErrorReason as Reason;

/// The `domain` of our `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "countersign";

/// Beginnings of the texts of tonic's own INTERNAL that tell of a malformed request. A handler's INTERNAL cannot be
/// mistaken for one: it carries our `ErrorInfo`.
const MALFORMED: [&str; 5] = [
    "protocol error: received message with",
    "Error decompressing",
    "Unexpected EOF decoding stream",
    "Missing request message",
    "tonic-web:",
];

/// Why a call failed, for a program (`reason`) and for a person (`detail`, which names no internals: S64).
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What went wrong.
    pub reason: Reason,
    /// What went wrong this time.
    pub detail: String,
    /// Which fields are not acceptable.
    pub violations: Vec<Violation>,
    /// How long to wait before trying again.
    pub retry_after: Option<Duration>,
}

/// A field that is not acceptable.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Its path, such as `requests[2].credential`.
    pub field: String,
    /// What would be acceptable.
    pub description: String,
}

/// How a reason is answered over gRPC and over HTTP: the table of the contract (S63).
const fn row(reason: Reason) -> (Code, StatusCode) {
    use Reason as R;
    match reason {
        R::MissingCredential
        | R::InvalidCredential
        | R::CredentialExpired
        | R::CredentialRevoked
        | R::WrongEmailOrPassword
        | R::RefreshTokenInvalid
        | R::RefreshTokenReused => (Code::Unauthenticated, StatusCode::UNAUTHORIZED),
        R::InsufficientScope
        | R::AccountDisabled
        | R::EmailNotVerified
        | R::SessionRequired
        | R::SecondFactorRequired
        | R::RegistrationClosed => (Code::PermissionDenied, StatusCode::FORBIDDEN),
        R::EmailAlreadyRegistered | R::IdentityAlreadyLinked => (Code::AlreadyExists, StatusCode::CONFLICT),
        R::LastWayIn => (Code::FailedPrecondition, StatusCode::CONFLICT),
        R::InvalidField
        | R::OneTimeTokenInvalid
        | R::OauthCodeRefused
        | R::OauthStateInvalid
        | R::UnknownProvider
        | R::RedirectUriNotAllowed
        | R::PasswordTooCommon => (Code::InvalidArgument, StatusCode::BAD_REQUEST),
        R::NotFound => (Code::NotFound, StatusCode::NOT_FOUND),
        R::MethodNotAllowed => (Code::InvalidArgument, StatusCode::METHOD_NOT_ALLOWED),
        R::UnsupportedMediaType => (Code::InvalidArgument, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        R::TooLarge => (Code::ResourceExhausted, StatusCode::PAYLOAD_TOO_LARGE),
        R::TooManyAttempts | R::Overloaded | R::LimitReached => {
            (Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS)
        }
        R::ProviderUnavailable | R::StorageUnavailable => {
            (Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE)
        }
        R::DeadlineExceeded => (Code::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT),
        R::Internal | R::Unspecified => (Code::Internal, StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// RFC 9457's `title`: the same for every problem of a reason.
const fn title(reason: Reason) -> &'static str {
    match reason {
        Reason::MissingCredential => "A credential is needed",
        Reason::InvalidCredential => "The credential is not valid",
        Reason::CredentialExpired => "The credential has expired",
        Reason::CredentialRevoked => "The credential was revoked",
        Reason::WrongEmailOrPassword => "Wrong e-mail address or password",
        Reason::RefreshTokenInvalid => "The refresh token is not valid",
        Reason::RefreshTokenReused => "The refresh token was used before; its session has ended",
        Reason::InsufficientScope => "A scope is missing",
        Reason::AccountDisabled => "The account is disabled",
        Reason::EmailNotVerified => "The e-mail address is not verified",
        Reason::SessionRequired => "An API key cannot do this; an access token is needed",
        Reason::SecondFactorRequired => "A second factor is needed",
        Reason::RegistrationClosed => "Registration is closed",
        Reason::EmailAlreadyRegistered => "The e-mail address is registered already",
        Reason::IdentityAlreadyLinked => "The identity belongs to another account",
        Reason::LastWayIn => "The account would be left with no way in",
        Reason::InvalidField => "The request is not acceptable",
        Reason::OneTimeTokenInvalid => "The token is not valid",
        Reason::OauthCodeRefused => "The provider refused the authorization code",
        Reason::OauthStateInvalid => "The OAuth state is not valid",
        Reason::UnknownProvider => "The provider is not known",
        Reason::RedirectUriNotAllowed => "The redirect URI is not allowed",
        Reason::PasswordTooCommon => "The password is too easily guessed",
        Reason::NotFound => "There is no such thing",
        Reason::MethodNotAllowed => "The path does not take this method",
        Reason::UnsupportedMediaType => "The content type or encoding is not supported",
        Reason::TooLarge => "The request is too large",
        Reason::TooManyAttempts => "Too many attempts",
        Reason::Overloaded => "The server is busy",
        Reason::LimitReached => "There are as many as there may be",
        Reason::ProviderUnavailable => "The provider does not answer",
        Reason::StorageUnavailable => "The service cannot answer for now",
        Reason::DeadlineExceeded => "The call took too long",
        Reason::Internal | Reason::Unspecified => "The server failed",
    }
}

/// A reason's name on the wire, without the enum's prefix.
pub fn wire_name(reason: Reason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

impl Problem {
    /// A problem with no violations and no delay.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), violations: Vec::new(), retry_after: None }
    }

    /// `INVALID_FIELD` with these violations.
    pub fn invalid(violations: Vec<Violation>) -> Self {
        let detail = match violations.as_slice() {
            [only] if !only.field.is_empty() => format!("{}: {}", only.field, only.description),
            [only] => only.description.clone(),
            many => format!("{} fields are not acceptable", many.len()),
        };
        Self { violations, ..Self::new(Reason::InvalidField, detail) }
    }

    /// Reads a status back. One without our `ErrorInfo` was made by tonic and its text may tell of internals, so it is
    /// mapped by its code to a reason and the reason's own text.
    pub fn from_status(status: &Status) -> Self {
        Self::ours(status).unwrap_or_else(|| foreign(status).into())
    }

    /// `status` itself if it is ours, else what [`Problem::from_status`] makes of it; `UNIMPLEMENTED`
    /// stays, because clients look for it.
    pub fn canonical(status: Status) -> Status {
        if Self::ours(&status).is_some() {
            return status;
        }
        let problem = Self::from(foreign(&status));
        let code = match status.code() {
            Code::Unimplemented => Code::Unimplemented,
            _ => row(problem.reason).0,
        };
        problem.into_status(code, status.metadata().clone())
    }

    fn ours(status: &Status) -> Option<Self> {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN)?;
        let reason = Reason::from_str_name(&format!("ERROR_REASON_{}", info.reason))?;
        let violations = details.bad_request().map_or(&[][..], |bad| &bad.field_violations);
        Some(Self {
            reason,
            detail: status.message().to_owned(),
            violations: violations.iter().map(Violation::from).collect(),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        })
    }

    fn into_status(self, code: Code, metadata: MetadataMap) -> Status {
        let mut details = ErrorDetails::with_error_info(wire_name(self.reason), DOMAIN, HashMap::new());
        if !self.violations.is_empty() {
            let fields = self.violations.into_iter().map(|v| FieldViolation::new(v.field, v.description));
            details.set_bad_request(fields.collect::<Vec<_>>());
        }
        if self.retry_after.is_some() {
            details.set_retry_info(self.retry_after);
        }
        Status::with_error_details_and_metadata(code, self.detail, details, metadata)
    }

    /// A gRPC answer of trailers only, for layers that answer before any handler does.
    pub fn into_grpc_response(self) -> Response {
        Status::from(self).into_http::<Body>()
    }

    /// `NOT_FOUND` for a path that nothing answers at: `UNIMPLEMENTED` over gRPC.
    pub fn unknown_rpc() -> Response {
        Self::new(Reason::NotFound, "there is no such RPC")
            .into_status(Code::Unimplemented, MetadataMap::new())
            .into_http::<Body>()
    }
}

/// The reason behind a status that tonic made.
fn foreign(status: &Status) -> Reason {
    let text = status.message();
    match status.code() {
        // http-body-util's limit, which tonic passes on as UNKNOWN and tonic-web as INTERNAL.
        _ if text.ends_with("length limit exceeded") => Reason::TooLarge,
        Code::ResourceExhausted if text.starts_with("Error decompressing") => Reason::TooLarge,
        Code::OutOfRange => Reason::TooLarge,
        Code::ResourceExhausted => Reason::Overloaded,
        Code::Unimplemented if text.starts_with("Content is compressed") => Reason::UnsupportedMediaType,
        Code::Unimplemented | Code::NotFound => Reason::NotFound,
        Code::InvalidArgument => Reason::InvalidField,
        Code::Internal if MALFORMED.iter().any(|start| text.starts_with(start)) => Reason::InvalidField,
        Code::DeadlineExceeded | Code::Cancelled => Reason::DeadlineExceeded,
        _ => Reason::Internal,
    }
}

impl From<Reason> for Problem {
    fn from(reason: Reason) -> Self {
        Self::new(reason, title(reason))
    }
}

impl From<&FieldViolation> for Violation {
    fn from(from: &FieldViolation) -> Self {
        Self { field: from.field.clone(), description: from.description.clone() }
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let (code, _) = row(problem.reason);
        problem.into_status(code, MetadataMap::new())
    }
}

impl Problem {
    /// Its gRPC code.
    pub fn code(&self) -> Code {
        row(self.reason).0
    }

    /// Its HTTP status.
    pub fn status(&self) -> StatusCode {
        row(self.reason).1
    }

    /// The RFC 9457 problem, answered with `status`: its own, unless who asks cannot take that.
    pub fn into_http(self, status: StatusCode) -> axum::http::Response<String> {
        let (reason, code) = (wire_name(self.reason), self.code());
        let mut body = json!({
            "type": format!("urn:countersign:error:{reason}"),
            "title": title(self.reason),
            "status": status.as_u16(),
            "detail": self.detail,
            "reason": reason,
        });
        if !self.violations.is_empty() {
            let fields = self.violations.iter();
            body["field_violations"] =
                fields.map(|v| json!({"field": v.field, "description": v.description})).collect();
        }
        if let Some(delay) = self.retry_after {
            body["retry_after"] = delay.as_secs_f64().into();
        }
        let mut response = axum::http::Response::new(body.to_string());
        *response.status_mut() = status;
        // For who counts it.
        response.extensions_mut().insert(code);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(delay) = self.retry_after {
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge(self.reason)));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        self.into_http(status).map(Body::from)
    }
}

/// RFC 6750, section 3.1: `invalid_token` only where a token was presented and refused.
const fn challenge(reason: Reason) -> &'static str {
    match reason {
        Reason::InvalidCredential | Reason::CredentialExpired | Reason::CredentialRevoked => {
            "Bearer error=\"invalid_token\""
        }
        _ => "Bearer",
    }
}

#[cfg(test)]
mod tests;
