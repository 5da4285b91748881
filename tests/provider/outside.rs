//! What leaves the house, and what may come in by it (S50).

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use axum::{
    Router,
    body::Body,
    response::Redirect,
    routing::{any, post},
};
use countersign::provider::{Error, Kind, Proofs, Provider};
use futures_util::stream;

use crate::{
    REDIRECT,
    idp::{bind, serve},
    provider, settings,
};

fn github(base: &str) -> Kind {
    Kind::Github {
        authorization_url: format!("{base}/authorize"),
        token_url: format!("{base}/token"),
        api_url: format!("{base}/api"),
    }
}

/// Expects that it is not available, and returns why.
async fn unavailable(provider: &Provider) -> String {
    match provider.identify(&"good".into(), REDIRECT, &Proofs::default()).await {
        Err(Error::Unavailable(why)) => why,
        answer => panic!("{answer:?}"),
    }
}

/// Where nobody is to be led.
async fn nobody() {
    panic!("somebody came");
}

#[tokio::test]
async fn private_addresses_are_refused_by_name_and_by_number_zitadel_cve_2026_55671() {
    // S50
    let (listener, address) = bind().await;
    serve(listener, Router::new().route("/token", any(nobody)));
    let port = address.port();
    for host in
        ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "169.254.169.254", "0.0.0.0"]
    {
        let provider = Provider::new(settings(github(&format!("https://{host}:{port}")), false)).unwrap();
        let why = unavailable(&provider).await;
        assert!(why.contains("allow_private_hosts"), "{host}: {why}");
    }
    let provider = Provider::new(settings(github(&format!("http://example.com:{port}")), false)).unwrap();
    assert!(unavailable(&provider).await.contains("https"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    // S50
    let (listener, address) = bind().await;
    let router = Router::new()
        .route("/token", post(async || Redirect::temporary("/internal")))
        .route("/internal", any(nobody));
    serve(listener, router);
    unavailable(&provider(github(&format!("http://{address}")))).await;
}

#[tokio::test]
async fn an_answer_that_is_too_long_or_never_ends_is_given_up() {
    // S50
    let (listener, address) = bind().await;
    let long = async || Body::from(vec![b' '; 100 * 1024 * 1024]);
    let endless = async || {
        Body::from_stream(stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, std::io::Error>(" "), ()))
        }))
    };
    let silent = async || std::future::pending::<()>().await;
    let router = Router::new()
        .route("/long/token", post(long))
        .route("/endless/token", post(endless))
        .route("/silent/token", post(silent));
    serve(listener, router);
    for path in ["long", "endless", "silent"] {
        let why = unavailable(&provider(github(&format!("http://{address}/{path}")))).await;
        let known = if path == "long" { "could not be read" } else { "no answer within 5s" };
        assert!(why.contains(known), "{path}: {why}");
    }
}

#[tokio::test]
async fn who_is_not_there_is_not_available() {
    let (listener, address) = bind().await;
    drop(listener);
    let why = unavailable(&provider(github(&format!("http://{address}")))).await;
    assert!(why.contains("refused"), "{why}");
}

/// Begins it, if it has not begun.
async fn is_pending(work: &mut (impl Future + Unpin)) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *work).poll(cx).is_pending())).await
}

#[tokio::test]
async fn more_than_a_provider_should_bear_are_not_sent_there() {
    let (listener, address) = bind().await;
    serve(listener, Router::new().route("/token", post(async || std::future::pending::<()>().await)));
    let provider = provider(github(&format!("http://{address}")));
    let (code, proofs) = ("good".into(), Proofs::default());
    let identify = || Box::pin(provider.identify(&code, REDIRECT, &proofs));
    let mut waiting: Vec<_> = (0..64).map(|_| identify()).collect();
    for one in &mut waiting {
        assert!(is_pending(one).await);
    }
    assert!(matches!(identify().await, Err(Error::Busy)));
    waiting.pop();
    assert!(is_pending(&mut identify()).await);
}
