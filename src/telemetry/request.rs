//! What a request is called, so that its lines in the log, its trace and its answer can be put together.

use tracing::{Span, error_span};
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan;

use super::traces;

/// The span that says which request a line belongs to.
pub(super) const TARGET: &str = "countersign::request";

/// What lines in JSON say of their request.
#[derive(Debug, Clone)]
pub(super) struct Known {
    id: String,
    trace: Option<traces::Ids>,
}

impl Known {
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let trace = self
            .trace
            .iter()
            .flat_map(|ids| [("trace_id", ids.trace.as_str()), ("span_id", ids.span.as_str())]);
        [("request_id", self.id.as_str())].into_iter().chain(trace)
    }
}

/// The span that a request with this id runs in. At the highest level, so that there is one wherever there are lines.
pub fn span(id: &str) -> Span {
    let span = error_span!(target: TARGET, "request", request_id = id);
    note(&span, Known { id: id.to_owned(), trace: None });
    span
}

/// Notes that what runs in `span`, of a request with this id, is part of a trace.
pub fn join(span: &Span, id: &str, trace: traces::Ids) {
    note(span, Known { id: id.to_owned(), trace: Some(trace) });
}

fn note(span: &Span, known: Known) {
    span.with_subscriber(|(id, dispatch)| {
        if let Some(span) = dispatch.downcast_ref::<Registry>().and_then(|registry| registry.span(id)) {
            span.extensions_mut().replace(known);
        }
    });
}
