//! Answers that never end by themselves, such as a health watch, end when the service stops, so that they do not hold the
//! exit up. The caller is told to come again: another replica, or the next process, will answer.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::HeaderMap,
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tower::util::MapResponseLayer;

/// Ends the answers of a router's streaming RPCs once `stop` is cancelled and they have nothing to say.
pub fn end_with(stop: &CancellationToken, streams: Router) -> Router {
    let stop = stop.clone();
    streams.layer(MapResponseLayer::new(move |response: Response| {
        let stop = Box::pin(stop.clone().cancelled_owned());
        response.map(|inner| Body::new(Ending { inner, stop, ended: false }))
    }))
}

/// A body that ends with UNAVAILABLE when it is told to.
struct Ending {
    inner: Body,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
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
        if self.stop.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.ended = true;
        let mut trailers = HeaderMap::new();
        // Only a text that no header could hold is refused.
        let _ = Status::unavailable("the server is going away").add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
