//! Envoy's door: its filter `ext_authz` asks before it forwards a request, and is told which headers it passes with. Whatever
//! is wrong with a question that can be read is an answer, never an error of the RPC: that would leave it to the filter's
//! `failure_mode_allow`, as a question does that is over [`MAX_BYTES`] or cannot be answered in time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderValue as HttpValue, header::CACHE_CONTROL};
use tonic::{Code, Request, Response};
use tonic_types::pb::Status;

use super::{
    Answer,
    caller::credential,
    gateway::{NAMES, identity},
    pb::{
        ErrorReason,
        envoy::{
            config::core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction},
            service::auth::v3::{
                AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
                attribute_context::HttpRequest, authorization_server::Authorization,
                check_response::HttpResponse,
            },
            r#type::v3::HttpStatus,
        },
    },
    status::Problem,
};
use crate::{
    domain::{Domain, validate::Principal},
    types::Scopes,
};

/// The context extension that says which scopes a route requires, separated by spaces.
const SCOPES: &str = "scopes";

/// Bytes of a question: Envoy may send all the headers of the waiting request, of which it takes 60 KiB unless told otherwise.
pub const MAX_BYTES: usize = 1024 * 1024;

/// How often a slip in Envoy's configuration is told of: whoever reaches this door can make one.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// The most that is told of the name of a context extension, in characters.
const MAX_NAME: usize = 80;

/// Answers Envoy.
pub struct ExtAuthz {
    domain: Arc<Domain>,
    /// When a slip was told of last.
    told: Mutex<Option<Instant>>,
}

impl ExtAuthz {
    /// A handler over these use cases.
    pub fn new(domain: Arc<Domain>) -> Self {
        Self { domain, told: Mutex::default() }
    }

    async fn judge(&self, asked: &AttributeContext) -> Result<Principal, Problem> {
        let required = required(asked).map_err(|slip| self.refuse(&slip))?;
        let http = asked.request.as_ref().and_then(|request| request.http.as_ref());
        let credential = credential(|name| http.into_iter().flat_map(move |http| values(http, name)))?;
        Ok(self.domain.authenticate_for(credential, &required).await?)
    }

    /// Nobody passes for it; what it is, is the operator's to see and not the client's. It is who asks that is at fault.
    fn refuse(&self, slip: &str) -> Problem {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!("a route in Envoy's configuration lets nobody pass: context_extensions: {slip}");
        }
        Problem::new(ErrorReason::InvalidField, "the gateway's question is not acceptable")
    }
}

#[tonic::async_trait]
impl Authorization for ExtAuthz {
    async fn check(&self, request: Request<CheckRequest>) -> Answer<CheckResponse> {
        let asked = request.into_inner().attributes.unwrap_or_default();
        let answer = self.judge(&asked).await;
        let code = answer.as_ref().map_or_else(Problem::code, |_| Code::Ok);
        let mut answer = Response::new(answer.map_or_else(denied, |principal| allowed(principal, &asked)));
        // For who counts it: to gRPC it is always an answer.
        answer.extensions_mut().insert(code);
        Ok(answer)
    }
}

/// The scopes that the route requires, or what is wrong with how that is said: never a value, which may be anything (S57).
fn required(asked: &AttributeContext) -> Result<Scopes, String> {
    let extensions = &asked.context_extensions;
    let similar = |key: &&String| key.to_ascii_lowercase().starts_with("scope") && *key != SCOPES;
    if let Some(key) = extensions.keys().find(similar) {
        let key: String = key.chars().take(MAX_NAME).collect();
        return Err(format!("{key:?} is to be {SCOPES:?}, presumably"));
    }
    let Some(list) = extensions.get(SCOPES) else { return Ok(Scopes::default()) };
    if list.trim_ascii().is_empty() {
        return Err(format!("{SCOPES} names no scope"));
    }
    Scopes::parse_list(list).map_err(|invalid| format!("{SCOPES}: {}", invalid.0))
}

/// The values of a header, in either form that Envoy has for them.
fn values<'a>(http: &'a HttpRequest, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let raw = http.header_map.iter().flat_map(|map| &map.headers);
    let raw = raw.filter(move |header| header.key.eq_ignore_ascii_case(name));
    let value = |header: &'a HeaderValue| {
        if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value }
    };
    http.headers.get(name).map(Vec::as_slice).into_iter().chain(raw.map(value))
}

fn allowed(principal: Principal, asked: &AttributeContext) -> CheckResponse {
    let headers_to_remove = spelled_with_underscores(asked);
    let mut ok = OkHttpResponse { headers_to_remove, ..OkHttpResponse::default() };
    for (name, value) in identity(principal) {
        match value {
            Some(value) => ok.headers.push(set(name, value)),
            None => ok.headers_to_remove.push(name.to_owned()),
        }
    }
    answer(Code::Ok, String::new(), HttpResponse::OkResponse(ok))
}

/// What the request has under names that many upstreams cannot tell from those of the identity: CGI, say, reads
/// `x_auth_user_id` and `x-auth-user-id` into the same variable.
fn spelled_with_underscores(asked: &AttributeContext) -> Vec<String> {
    let Some(http) = asked.request.as_ref().and_then(|request| request.http.as_ref()) else {
        return Vec::new();
    };
    let one_by_one = http.header_map.iter().flat_map(|map| &map.headers).map(|header| &header.key);
    let names = http.headers.keys().chain(one_by_one).filter(|name| name.contains('_'));
    let names = names.map(|name| name.to_ascii_lowercase());
    let mut names: Vec<_> = names.filter(|name| NAMES.contains(&name.replace('_', "-").as_str())).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The client gets what REST would answer.
fn denied(problem: Problem) -> CheckResponse {
    let (code, status, detail) = (problem.code(), problem.status(), problem.detail.clone());
    let (mut parts, body) = problem.into_http(status).into_parts();
    parts.headers.insert(CACHE_CONTROL, HttpValue::from_static("no-store"));
    let text = |value: &HttpValue| value.to_str().unwrap_or_default().to_owned();
    let headers = parts.headers.iter().map(|(name, value)| set(name.as_str(), text(value))).collect();
    let status = Some(HttpStatus { code: status.as_u16().into() });
    answer(code, detail, HttpResponse::DeniedResponse(DeniedHttpResponse { status, headers, body }))
}

fn answer(code: Code, message: String, http: HttpResponse) -> CheckResponse {
    let status = Status { code: code.into(), message, details: Vec::new() };
    CheckResponse { status: Some(status), http_response: Some(http) }
}

/// A header that replaces what the client sent under its name.
fn set(name: &str, value: String) -> HeaderValueOption {
    let header = HeaderValue { key: name.to_owned(), value, raw_value: Vec::new() };
    let append_action = HeaderAppendAction::OverwriteIfExistsOrAdd.into();
    HeaderValueOption { header: Some(header), append_action }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_named_and_what_was_sent_is_not() {
        // S57
        let slip = |name: &str, value: &str| {
            let context_extensions = [(name.to_owned(), value.to_owned())].into();
            required(&AttributeContext { context_extensions, ..Default::default() }).unwrap_err()
        };
        assert_eq!(slip("scope", "jobs:read"), r#""scope" is to be "scopes", presumably"#);
        assert_eq!(slip("Scopes", "jobs:read"), r#""Scopes" is to be "scopes", presumably"#);
        assert_eq!(slip("scopes", " "), "scopes names no scope");
        let canary = format!("\"c4n4ry{}", "x".repeat(100_000));
        assert!(slip("scopes", &canary).starts_with("scopes: a scope is 1 to 64 printable ASCII characters"));
        for told in [slip("scopes", &canary), slip(&format!("scope{}", "\n".repeat(100_000)), &canary)] {
            assert!(told.len() < 300 && !told.contains("c4n4ry") && !told.contains('\n'), "{told}");
        }
    }
}
