//! The way around the router, for the one call that has to cost next to nothing: `ValidateCredential` over gRPC.
//!
//! The layers and the router serve every door; this call comes through one, and its handler asks for no caller. So all that is
//! left of them here is what protects it: its size (tonic looks at that), its time, panics, errors in our words, and the
//! headers that every answer carries. Whatever is not such a call takes the usual way, and gets the same answer there.

use std::{convert::Infallible, future::poll_fn, pin::pin, task::Poll, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, Response, Version, header::CONTENT_TYPE},
};
use futures_util::{FutureExt, future};
use http_body_util::Either;
use hyper::body::Incoming;
use tokio::time::timeout;
use tower::Service;

use super::{
    auth_service::Auth,
    door::Door,
    guard::{self, catch, patience},
    metrics::{Connected, Metrics, Rpc, code_of},
    pb::{ErrorReason, auth_service_server::AuthServiceServer},
    seen::{self, Entrance, Seen},
    server::{Limits, Peer},
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
    /// Where its connections are counted, if they are.
    metrics: Option<&'static Metrics>,
}

#[derive(Clone)]
struct Fast {
    auth: AuthServiceServer<Auth>,
    limits: Limits,
    rpc: &'static Rpc,
}

/// An answer of the router, or one that went around it.
pub type Answer = Response<Either<Body, tonic::body::Body>>;

impl From<Router> for App {
    fn from(router: Router) -> Self {
        Self { router, fast: None, metrics: None }
    }
}

impl App {
    /// With a way around the router if it serves [`PATH`], which this service answers as well.
    pub(super) fn new(
        router: Router,
        auth: Option<AuthServiceServer<Auth>>,
        limits: Limits,
        metrics: &'static Metrics,
    ) -> Self {
        let fast = auth.map(|auth| Fast { auth, limits, rpc: metrics.rpc(PATH) });
        Self { router, fast, metrics: Some(metrics) }
    }

    /// Counts a connection until it is dropped.
    pub(super) fn connected(&self) -> Option<Connected> {
        self.metrics.map(Metrics::connected)
    }

    /// Answers. The future is small, since it is moved about with each call: what is large is behind a pointer.
    pub fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: &Peer,
    ) -> impl Future<Output = Answer> + Send + use<> {
        match &self.fast {
            Some(fast) if takes(&request) => {
                if seen::is_wanted(request.headers(), peer.client.as_deref()) {
                    let entrance = Entrance::Validation(fast.rpc);
                    let seen = Seen::begin(request.headers(), &entrance, peer.client.clone());
                    future::Either::Right(fast.answer_seen(request, seen).boxed())
                } else {
                    future::Either::Left(fast.answer(request))
                }
            }
            _ => {
                request.extensions_mut().insert(peer.clone());
                let mut router = self.router.clone();
                future::Either::Right(
                    async move {
                        let Ok(answer) = router.call(request).await;
                        answer.map(Either::Left)
                    }
                    .boxed(),
                )
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
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send + use<> {
        let under_way = self.rpc.begin();
        let call = self.call(request);
        async move {
            let answer = call.await;
            under_way.end(code_of(&answer));
            answer
        }
    }

    /// The same for a call that is to be found again, in the log or in a trace.
    fn answer_seen(
        &self,
        request: Request<Incoming>,
        seen: Seen,
    ) -> impl Future<Output = Answer> + Send + use<> {
        let under_way = self.rpc.begin();
        let call = self.call(request);
        async move {
            let mut answer = seen.run(call).await;
            seen.end(&mut answer, under_way);
            answer
        }
    }

    fn call(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send + use<> {
        let patience = patience(request.headers(), self.limits.request_timeout);
        // It is boxed, and begins when it is polled.
        let call = self.auth.clone().call(request);
        async move {
            let mut answer = match outcome(patience, call).await {
                Ok(answer) => answer,
                Err(problem) => Door::Grpc(GRPC).answer(problem).map(Either::Left),
            };
            guard::mark_private(answer.headers_mut());
            answer
        }
    }
}

async fn outcome<F>(patience: Result<Duration, Problem>, call: F) -> Result<Answer, Problem>
where
    F: Future<Output = Result<Response<tonic::body::Body>, Infallible>>,
{
    let patience = patience?;
    let mut call = pin!(catch(call));
    let Ok(answer) = match poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
        // Nearly always: the message has come with its headers, and the answer is in memory. A timer would cost more.
        Poll::Ready(answer) => answer?,
        Poll::Pending => {
            Box::pin(timeout(patience, call)).await.map_err(|_| ErrorReason::DeadlineExceeded)??
        }
    };
    Ok(match guard::canonical_error(answer.headers()) {
        None => answer.map(Either::Right),
        Some(error) => error.map(Either::Left),
    })
}
