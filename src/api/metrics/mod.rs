//! What is counted of requests, and under which names all numbers are told. The names are the operators': they are in
//! `docs/operations.md`, in alerts and in dashboards. Numbers that another room has are read when somebody asks for them; what
//! is counted here costs an addition or two. No label is of a client's making: they come from the protos and from enums.

mod page;
mod read;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::{Code, Status};

use super::{forward_auth, pb::CredentialStatus};
use crate::telemetry::tally::{Histogram, Tally};

pub use page::CONTENT_TYPE;

/// The codes of gRPC, by their number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Verdicts that can be told apart: the numbers of the enum begin at 0, which is none.
const VERDICTS: usize = 8;

/// From what a validation takes to what any call may take, in nanoseconds.
const REQUEST_BOUNDS: &[u64] = &[
    25_000,
    100_000,
    250_000,
    1_000_000,
    2_500_000,
    10_000_000,
    25_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];

/// The numbers of a service. They live as long as the process: so whoever counts holds a plain reference.
pub struct Metrics {
    /// By path, as it comes over gRPC. REST's paths are not among them: its routes know their RPC.
    by_path: HashMap<String, Rpc>,
    /// Whatever else was asked for.
    other: Rpc,
    verdicts: Tally<VERDICTS>,
    connections: AtomicI64,
    certificate_expiry: AtomicI64,
}

/// An RPC, or what stands in its place, and how it was answered.
pub struct Rpc {
    /// `AuthService/Login`: the label.
    pub label: String,
    /// `countersign.v1.AuthService`; empty where there is none.
    pub service: String,
    /// `Login`
    pub method: String,
    codes: Tally<{ CODES.len() }>,
    durations: Histogram,
}

/// An open connection, counted as long as it lives.
pub struct Connected(&'static AtomicI64);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Metrics {
    /// For the RPCs of `pool` and of the health service. It is made once a service and never given back.
    pub fn start(pool: &DescriptorPool) -> &'static Self {
        let mut pool = pool.clone();
        // One that does not decode is a fault of the build of tonic-health, and costs a label.
        let _ = pool.decode_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let mut by_path: HashMap<_, _> =
            methods.map(|method| (path(&method), Rpc::of_method(&method))).collect();
        by_path.insert(forward_auth::PATH.to_owned(), Rpc::new("forward_auth".to_owned()));
        Box::leak(Box::new(Self {
            by_path,
            other: Rpc::new("other".to_owned()),
            verdicts: Tally::default(),
            connections: AtomicI64::new(0),
            certificate_expiry: AtomicI64::new(0),
        }))
    }

    /// For a router without RPCs.
    #[cfg(test)]
    pub fn of_no_rpc() -> &'static Self {
        Self::start(&DescriptorPool::new())
    }

    /// What a request to this path is counted as: the RPC, the gateways' route, or `other`.
    pub fn rpc(&self, path: &str) -> &Rpc {
        self.by_path.get(path).unwrap_or(&self.other)
    }

    /// Counts a connection until it is dropped.
    pub fn connected(&'static self) -> Connected {
        self.connections.fetch_add(1, Relaxed);
        Connected(&self.connections)
    }

    /// Counts what a credential was worth.
    pub fn verdict(&self, status: CredentialStatus) {
        self.verdicts.count(usize::try_from(i32::from(status)).unwrap_or(VERDICTS));
    }

    /// Notes when the certificate that is served expires, in seconds since 1970. Until then there is no such metric.
    pub fn set_certificate_expiry(&self, seconds: i64) {
        self.certificate_expiry.store(seconds, Relaxed);
    }
}

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

impl Rpc {
    fn new(label: String) -> Self {
        Self {
            label,
            service: String::new(),
            method: String::new(),
            codes: Tally::default(),
            durations: Histogram::new(REQUEST_BOUNDS),
        }
    }

    fn of_method(method: &MethodDescriptor) -> Self {
        let (service, name) = (method.parent_service(), method.name());
        let short = match service.name() {
            "Authorization" => "ext_authz",
            name => name,
        };
        let (label, service) = (format!("{short}/{name}"), service.full_name().to_owned());
        Self { service, method: name.to_owned(), ..Self::new(label) }
    }

    /// Begins to count a request. It is counted when what is returned is dropped, be it answered or given up.
    pub fn begin(&'static self) -> UnderWay {
        UnderWay { rpc: self, began: Instant::now(), code: Code::Cancelled }
    }

    fn record(&self, code: Code, took: Duration) {
        self.codes.count(usize::try_from(i32::from(code)).unwrap_or(CODES.len()));
        self.durations.record(took);
    }
}

/// A request under way. That nobody waits for the answer any more is also an end.
pub struct UnderWay {
    /// What it is counted as.
    pub rpc: &'static Rpc,
    code: Code,
    began: Instant,
}

impl UnderWay {
    /// It was answered with this.
    pub fn end(mut self, code: Code) {
        self.code = code;
    }

    /// How long it has taken until now.
    pub fn took(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.rpc.record(self.code, self.took());
    }
}

/// A code as gRPC writes it.
pub fn name_of(code: Code) -> &'static str {
    usize::try_from(i32::from(code)).ok().and_then(|code| CODES.get(code)).unwrap_or(&"UNKNOWN")
}

/// How an answer of any door ended: REST's problems carry their code as an extension, gRPC's as a header.
pub fn code_of<B>(answer: &axum::http::Response<B>) -> Code {
    if let Some(code) = answer.extensions().get::<Code>() {
        return *code;
    }
    match answer.headers().get(Status::GRPC_STATUS) {
        Some(code) => Code::from_bytes(code.as_bytes()),
        None if answer.status().is_client_error() || answer.status().is_server_error() => Code::Unknown,
        None => Code::Ok,
    }
}
