//! Userinfo (OpenID Connect Core, section 5.3), read for what is needed alone: providers differ in the rest.

use http::{
    Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Error, Result, http::Http};

#[derive(Deserialize)]
pub(super) struct UserInfo {
    sub: String,
    #[serde(default)]
    email: Value,
    #[serde(default)]
    email_verified: Value,
    #[serde(default)]
    name: Value,
}

impl UserInfo {
    /// Asks what the provider says of this person.
    pub(super) async fn fetch(http: &Http, url: &str, token: &str, subject: &str) -> Result<Self> {
        let unavailable = |what: String| Error::Unavailable(format!("userinfo: {what}"));
        let request = Request::get(url)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|error| unavailable(error.to_string()))?;
        let answer = http.send(request).await.map_err(|error| unavailable(error.to_string()))?;
        if answer.status() != StatusCode::OK {
            return Err(unavailable(format!("it answered {}", answer.status())));
        }
        let info: Self = serde_json::from_slice(answer.body()).map_err(|error| {
            unavailable(format!("it answered with something else ({:?})", error.classify()))
        })?;
        // It must speak of the same person (section 5.3.2).
        if info.sub == subject {
            Ok(info)
        } else {
            Err(Error::Refused("userinfo speaks of somebody else".to_owned()))
        }
    }

    pub(super) fn email(&self) -> Option<&str> {
        self.email.as_str()
    }

    /// Some write it as text.
    pub(super) fn email_verified(&self) -> bool {
        self.email_verified == true || self.email_verified == "true"
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_str()
    }
}
