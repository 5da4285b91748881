//! Connections to the service.

use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint},
};

use crate::{
    Result,
    pb::{self, CredentialStatus, auth_service_client::AuthServiceClient},
};

pub type Client = AuthServiceClient<Channel>;

/// One connection.
pub async fn connect(address: &str) -> Result<Client> {
    Ok(Client::new(Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?))
}

/// So many connections.
pub async fn connect_all(address: &str, connections: usize) -> Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        clients.push(connect(address).await?);
    }
    Ok(clients)
}

/// Asks about a credential.
pub async fn ask(client: &mut Client, credential: String) -> Result<pb::ValidateCredentialResponse, Status> {
    let request = pb::ValidateCredentialRequest { credential, ..Default::default() };
    client.validate_credential(request).await.map(Response::into_inner)
}

/// What became of a question: the status within the answer, or that of gRPC where there was none.
pub fn outcome(answer: &Result<pb::ValidateCredentialResponse, Status>) -> &'static str {
    match answer {
        Ok(answer) => CredentialStatus::try_from(answer.status).map_or("?", |status| status.as_str_name()),
        Err(status) => code(status.code()),
    }
}

/// The name of a gRPC code.
pub fn code(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::Unauthenticated => "UNAUTHENTICATED",
        _ => "UNKNOWN",
    }
}
