//! The exchange of a code for tokens (RFC 6749, section 4.1.3), as far as both protocols share it.

use oauth2::{ErrorResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{Error, Result, http::HttpError};

/// The errors that are the code's, and not the configuration's or the provider's own: OAuth's, LinkedIn's for a code that
/// was used or is too old, and GitHub's.
const OF_THE_CODE: [&str; 5] = [
    "invalid_grant",
    "invalid_request",
    "bad_verification_code",
    "redirect_uri_mismatch",
    "unverified_user_email",
];

pub(super) fn redirect_url(text: &str) -> Result<RedirectUrl> {
    RedirectUrl::new(text.to_owned()).map_err(|_| Error::Refused("the redirect URI is not a URL".to_owned()))
}

/// S256 (RFC 7636, section 4.2).
pub(super) fn challenge(verifier: &SecretString) -> PkceCodeChallenge {
    PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.expose_secret().to_owned()))
}

/// Why there is no token. GitHub says what is wrong in an answer of status 200, which does not read as one with a token.
pub(super) fn failure<T: ErrorResponse>(error: RequestTokenError<HttpError, T>) -> Error {
    match error {
        RequestTokenError::ServerResponse(answer) => {
            of_answer(&serde_json::to_value(answer).unwrap_or_default())
        }
        RequestTokenError::Request(error) => Error::Unavailable(error.to_string()),
        RequestTokenError::Parse(error, body) => match serde_json::from_slice::<Value>(&body) {
            Ok(answer) if answer.get("error").is_some() => of_answer(&answer),
            Ok(answer) if answer.get("id_token").is_some() => {
                Error::Refused(format!("the ID token cannot be read, at {}", error.path()))
            }
            _ => Error::Unavailable("the token endpoint answers with something else".to_owned()),
        },
        RequestTokenError::Other(_) => {
            Error::Unavailable("the token endpoint does not answer as it should".to_owned())
        }
    }
}

fn of_answer(answer: &Value) -> Error {
    let code: String = answer["error"].as_str().unwrap_or_default().chars().take(64).collect();
    let why = format!("the token endpoint answers with the error {code:?}");
    if OF_THE_CODE.contains(&code.as_str()) { Error::Refused(why) } else { Error::Unavailable(why) }
}
