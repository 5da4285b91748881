//! The way around the router, for the one call that has to cost next to nothing: `ValidateCredential` over gRPC.
//!
//! The layers and the router serve every door; this call comes through one, and its handler asks for no caller. So all that is
//! left of them here is what protects it: its size (tonic looks at that), its time, panics, errors in our words, and the
//! headers that every answer carries. Whatever is not such a call takes the usual way, and gets the same answer there.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, Response, Version, header::CONTENT_TYPE},
};
use http_body_util::Either;
use hyper::body::Incoming;
use tokio::time::timeout;
use tower::Service;

use super::{
    auth_service::Auth,
    door::Door,
    guard::{self, catch, patience},
    pb::{ErrorReason, auth_service_server::AuthServiceServer},
    server::Limits,
    status::Problem,
};

/// The call.
pub const PATH: &str = "/countersign.v1.AuthService/ValidateCredential";
/// As the clients of most languages write it; the others' spellings take the usual way.
const GRPC: &str = "application/grpc";

/// Everything that a listener answers.
#[derive(Clone)]
pub struct App {
    router: Router,
    fast: Option<Fast>,
}

#[derive(Clone)]
struct Fast {
    auth: AuthServiceServer<Auth>,
    limits: Limits,
}

/// An answer of the router, or one that went around it.
pub type Answer = Response<Either<Body, tonic::body::Body>>;

impl From<Router> for App {
    fn from(router: Router) -> Self {
        Self { router, fast: None }
    }
}

impl App {
    /// With a way around the router, which serves [`PATH`] as well.
    pub(super) fn new(router: Router, auth: AuthServiceServer<Auth>, limits: Limits) -> Self {
        Self { router, fast: Some(Fast { auth, limits }) }
    }

    /// Answers.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        match &self.fast {
            Some(fast) if takes(&request) => fast.answer(request).await,
            _ => {
                let Ok(answer) = self.router.clone().call(request).await;
                answer.map(Either::Left)
            }
        }
    }
}

/// Whether this is the call, as nearly everybody makes it.
fn takes<B>(request: &Request<B>) -> bool {
    request.uri().path() == PATH
        && request.method() == Method::POST
        && request.version() == Version::HTTP_2
        && request.headers().get(CONTENT_TYPE).is_some_and(|given| given == GRPC)
}

impl Fast {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let mut answer = match self.call(request).await {
            Ok(answer) => answer,
            Err(problem) => Door::Grpc(GRPC).answer(problem).map(Either::Left),
        };
        guard::mark_private(answer.headers_mut());
        answer
    }

    async fn call(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        let patience = patience(request.headers(), self.limits.request_timeout)?;
        let mut auth = self.auth.clone();
        let mut call = pin!(catch(async { auth.call(request).await }));
        let Ok(answer) = match poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
            // Nearly always: the message has come with its headers, and the answer is in memory. A timer would cost more.
            Poll::Ready(answer) => answer?,
            Poll::Pending => timeout(patience, call).await.map_err(|_| ErrorReason::DeadlineExceeded)??,
        };
        Ok(match guard::canonical_error(answer.headers()) {
            None => answer.map(Either::Right),
            Some(error) => error.map(Either::Left),
        })
    }
}
