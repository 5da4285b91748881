//! The door of gateways that ask over HTTP before they forward a request: nginx's `auth_request`, Traefik's `forwardAuth`,
//! Caddy's `forward_auth`. They send the request's own headers, go by the status, and copy headers of the answer. A route of
//! its own, since no RPC answers with a status and headers.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{
    caller::credential,
    convert::field,
    gateway::identity,
    pb::ErrorReason,
    rest::{query, refuse},
    status::Problem,
};
use crate::{
    domain::{Domain, validate::Principal},
    telemetry::traces,
    types::Scopes,
};

/// Where it is.
pub const PATH: &str = "/api/v1/auth/check";

/// The route, for GET and HEAD.
pub fn routes(domain: Arc<Domain>) -> Router {
    let route = get(async move |uri: Uri, headers: HeaderMap| answer(&domain, &uri, &headers).await);
    Router::new()
        .route(PATH, route)
        .method_not_allowed_fallback(async || Problem::from(ErrorReason::MethodNotAllowed))
}

async fn answer(domain: &Domain, uri: &Uri, headers: &HeaderMap) -> Response {
    traces::name_route("GET", PATH);
    let asked = match Asked::read(uri.query().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(problem) => return problem.into_response(),
    };
    match judge(domain, headers, &asked.required).await {
        Ok(principal) => allowed(principal),
        Err(problem) => {
            let status = match problem.status() {
                StatusCode::TOO_MANY_REQUESTS => asked.limited,
                status => status,
            };
            problem.into_http(status).map(Body::from)
        }
    }
}

async fn judge(domain: &Domain, headers: &HeaderMap, required: &Scopes) -> Result<Principal, Problem> {
    let credential = credential(|name| headers.get_all(name).iter().map(HeaderValue::as_bytes))?;
    Ok(domain.authenticate_for(credential, required).await?)
}

/// 204, with all five headers: one that has no value is empty, so that a gateway that copies it replaces the client's.
fn allowed(principal: Principal) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    for (name, value) in identity(principal) {
        // Ids and scopes are printable ASCII.
        let value = value.and_then(|value| HeaderValue::try_from(value).ok());
        response.headers_mut().insert(name, value.unwrap_or(HeaderValue::from_static("")));
    }
    response
}

/// What the gateway's operator wrote behind the path.
struct Asked {
    /// `scope`, as often as one likes; each may be several, separated by spaces.
    required: Scopes,
    /// The status for a credential that was used too often; `limited=403` is for nginx, which makes 500 of 429.
    limited: StatusCode,
}

impl Asked {
    fn read(query: &str) -> Result<Self, Problem> {
        let mut scopes = Vec::new();
        let mut limited = None;
        for (name, value) in query::pairs(query) {
            let (Some(decoded), Some(value)) = (query::decode(name), query::decode(value)) else {
                return Err(refuse([name], "is not UTF-8"));
            };
            match decoded.as_str() {
                // A template's variable that was not set, say: it must not open the route to every credential.
                "scope" if value.trim_ascii().is_empty() => return Err(refuse(["scope"], "names no scope")),
                "scope" => scopes.push(value),
                "limited" if limited.is_some() => return Err(refuse(["limited"], "is given twice")),
                "limited" if value == "403" => limited = Some(StatusCode::FORBIDDEN),
                "limited" => return Err(refuse(["limited"], "is 403 or left out")),
                _ => return Err(refuse([decoded], "is not a query parameter of this call")),
            }
        }
        let required = field("scope", Scopes::parse_list(&scopes.join(" ")))?;
        Ok(Self { required, limited: limited.unwrap_or(StatusCode::TOO_MANY_REQUESTS) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::Violation;

    #[test]
    fn the_query_is_read_strictly() {
        let scopes = |query| Asked::read(query).map(|asked| asked.required.to_list());
        assert_eq!(scopes("").unwrap(), "");
        assert_eq!(scopes("scope=b+a&limited=403&scope=c%20d").unwrap(), "a b c d");
        assert_eq!(Asked::read("scope=a").unwrap().limited, 429);
        assert_eq!(Asked::read("limited=403").unwrap().limited, 403);
        for (query, field) in [
            ("scopes=a", "scopes"),
            ("Scope=a", "Scope"),
            ("limited=429", "limited"),
            ("limited=403&limited=403", "limited"),
            ("scope=%22", "scope"),
            ("scope=", "scope"),
            ("scope", "scope"),
            ("scope=a&scope=+", "scope"),
            ("scope=%ff", "scope"),
        ] {
            let Err(problem) = Asked::read(query) else { panic!("{query}") };
            let [Violation { field: named, .. }] = problem.violations.as_slice() else {
                panic!("{problem:?}")
            };
            assert_eq!((problem.reason, named.as_str()), (ErrorReason::InvalidField, field), "{query}");
        }
    }
}
