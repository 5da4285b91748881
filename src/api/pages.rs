//! The pages where the links in mails lead by default. Each shows a button; the token in its address is sent to the REST
//! call of the same name when that is pressed, so that GET consumes nothing (S41): mail scanners follow links too.
//!
//! Owns three static documents and their headers. It knows no tokens and no rules: what a page says follows from the
//! call's answer, in `pages/script.js`. Their URLs are relative, because `server.public_url` may have a path.

use axum::{
    Router,
    body::Bytes,
    http::{
        HeaderName, HeaderValue,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS},
    },
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{pb::ErrorReason, status::Problem};
use crate::crypto::sha256;

const STYLE: &str = include_str!("pages/style.css");
const SCRIPT: &str = include_str!("pages/script.js");

/// Path, heading and form.
const PAGES: [(&str, &str, &str); 3] = [
    ("/verify-email", "Verify your e-mail address", include_str!("pages/verify-email.html")),
    ("/reset-password", "Set a new password", include_str!("pages/reset-password.html")),
    ("/confirm-email-change", "Confirm your new address", include_str!("pages/confirm-email-change.html")),
];

/// Routes for GET and HEAD of the three pages.
pub fn routes() -> Router {
    let mut router = Router::new();
    for (path, title, form) in PAGES {
        let document = format!(
            include_str!("pages/shell.html"),
            title = title,
            style = STYLE,
            form = form.trim_end(),
            script = SCRIPT
        );
        let page = (headers(), Bytes::from(document));
        router = router.route(path, get(async || page));
    }
    router.method_not_allowed_fallback(async || Problem::from(ErrorReason::MethodNotAllowed))
}

/// The address holds a token: it must not reach a cache, another site or a search engine, and the page may load nothing
/// and run nothing but its own script (S55).
fn headers() -> [(HeaderName, HeaderValue); 7] {
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        source(SCRIPT),
        source(STYLE)
    );
    let fixed = HeaderValue::from_static;
    [
        (CONTENT_TYPE, fixed("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, policy.try_into().expect("base64 may stand in a header")),
        (REFERRER_POLICY, fixed("no-referrer")),
        (CACHE_CONTROL, fixed("no-store")),
        (X_FRAME_OPTIONS, fixed("DENY")),
        (HeaderName::from_static("cross-origin-opener-policy"), fixed("same-origin")),
        (HeaderName::from_static("x-robots-tag"), fixed("noindex")),
    ]
}

/// How a policy names an inline script or style: by the hash of what stands between its tags.
fn source(inline: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(sha256(inline).0))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use axum::{body::Body, extract::Request, response::Response};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::api::{guard::guard, metrics::Metrics, server::Limits};

    /// Through the guard, which is to let pages pass like everything else.
    async fn ask(method: &str, path: &str) -> Response {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        guard(routes(), &[], &Limits::default(), Metrics::of_no_rpc()).oneshot(request).await.unwrap()
    }

    async fn body(response: Response) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    async fn documents() -> Vec<String> {
        let mut documents = Vec::new();
        for (path, ..) in PAGES {
            documents.push(body(ask("GET", path).await).await);
        }
        documents
    }

    /// What stands between the only such tags of a document.
    fn between<'a>(document: &'a str, start: &str, end: &str) -> &'a str {
        let (_, rest) = document.split_once(start).unwrap();
        let (inline, rest) = rest.split_once(end).unwrap();
        assert!(!rest.contains(end), "one {end}");
        inline
    }

    #[tokio::test]
    async fn the_policy_lets_nothing_run_but_what_the_page_holds() {
        // S55
        for (path, ..) in PAGES {
            let response = ask("GET", path).await;
            let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
            let document = body(response).await;
            let script = source(between(&document, "<script type=\"module\">", "</script>"));
            let style = source(between(&document, "<style>", "</style>"));
            assert_eq!(
                policy,
                format!(
                    "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; \
                     base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
                )
            );
        }
        // The usual example of such a hash: `echo -n "alert('Hello, world.');" | openssl dgst -sha256 -binary | base64`.
        let known = "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='";
        assert_eq!(source("alert('Hello, world.');"), known);
    }

    #[tokio::test]
    async fn the_address_stays_with_the_page() {
        // S41, S55
        for (path, ..) in PAGES {
            let response = ask("GET", &format!("{path}?token=abc")).await;
            assert_eq!(response.status(), 200);
            for (name, value) in [
                ("content-type", "text/html; charset=utf-8"),
                ("referrer-policy", "no-referrer"),
                ("cache-control", "no-store"),
                ("x-frame-options", "DENY"),
                ("cross-origin-opener-policy", "same-origin"),
                ("x-robots-tag", "noindex"),
                ("x-content-type-options", "nosniff"),
            ] {
                assert_eq!(response.headers().get_all(name).iter().collect::<Vec<_>>(), [value], "{path}");
            }
            assert!(!body(response).await.contains("abc"), "the document is static");
        }
    }

    #[tokio::test]
    async fn they_are_got_and_nothing_else() {
        for (path, ..) in PAGES {
            let (get, head) = (ask("GET", path).await, ask("HEAD", path).await);
            assert_eq!(head.status(), 200);
            assert_eq!(head.headers()["content-security-policy"], get.headers()["content-security-policy"]);
            assert_eq!(head.headers()["content-length"], body(get).await.len().to_string());
            assert_eq!(body(head).await, "");
            for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
                let refused = ask(method, path).await;
                assert_eq!(refused.status(), 405, "{method} {path}");
                assert_eq!(refused.headers()["allow"], "GET,HEAD");
                assert!(body(refused).await.contains("METHOD_NOT_ALLOWED"));
            }
        }
    }

    #[tokio::test]
    async fn the_documents_differ_and_load_nothing() {
        let documents = documents().await;
        assert_eq!(documents.iter().collect::<HashSet<_>>().len(), 3);
        for ((path, title, _), document) in PAGES.into_iter().zip(documents) {
            assert!(document.contains(&format!("<h1>{title}</h1>")));
            assert!(
                document.contains(&format!("action=\"api/v1/auth{path}\"")),
                "relative, and named like {path}"
            );
            for outside in ["http:", "https:", "//\"", "src=", "href=", "url(", "@import", "import("] {
                assert!(!document.contains(outside), "{path}: {outside}");
            }
        }
    }
}
