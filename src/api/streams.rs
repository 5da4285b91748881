//! Answers that never end by themselves, such as a health watch, end when the service stops, so that they do not hold the
//! exit up, and when their connection has grown old, so that it is not cut under them. The caller is told to come again:
//! another replica, or the next process, will answer.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{Extensions, HeaderMap},
    middleware::{Next, from_fn},
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::server::Peer;

/// When such an answer has to end.
pub struct End {
    stop: CancellationToken,
    old: Option<Arc<CancellationToken>>,
}

impl End {
    /// Of the answer to a request with these extensions, from a service that ends with `stop`.
    pub fn of(stop: &CancellationToken, extensions: &Extensions) -> Self {
        let old = extensions.get::<Peer>().map(|peer| Arc::clone(&peer.old));
        Self { stop: stop.clone(), old }
    }

    /// Waits for it, and says why.
    pub async fn reached(self) -> Status {
        let old = async {
            match &self.old {
                Some(old) => old.cancelled().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Status::unavailable("the server is going away"),
            () = old => Status::unavailable("the connection has grown old; call again"),
        }
    }
}

/// Ends the answers of a router's streaming RPCs once it is time and they have nothing to say.
pub fn end_with(stop: &CancellationToken, streams: Router) -> Router {
    let stop = stop.clone();
    streams.layer(from_fn(move |request: Request, next: Next| {
        let end = End::of(&stop, request.extensions());
        async move {
            let response: Response = next.run(request).await;
            response.map(|inner| Body::new(Ending { inner, end: Box::pin(end.reached()), ended: false }))
        }
    }))
}

/// A body that ends with UNAVAILABLE when it is told to.
struct Ending {
    inner: Body,
    end: Pin<Box<dyn Future<Output = Status> + Send>>,
    ended: bool,
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let status = ready!(self.end.as_mut().poll(cx));
        self.ended = true;
        let mut trailers = HeaderMap::new();
        // Only a text that no header could hold is refused.
        let _ = status.add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
