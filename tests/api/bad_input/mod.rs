//! Bad input gets a clear error, and nothing is lost: whatever comes through whichever door, the answer names a reason of
//! the contract, tells of no internals (`wire` looks at every text, S64), and the same server goes on serving.
//!
//! Here is what is besieged; the barrages are below. Where it can, a test runs over all RPCs and fields of the protos, so
//! that new ones are covered.

mod bodies;
mod canary;
mod credentials;
mod fields;
mod frames;
mod http;

use countersign::{api::pb, domain::Administrator, types::Scopes};
use prost::Message;

use crate::{
    common::Kind,
    support::{EMAIL, Server, Setup, bearer},
    wire::{Answer, CANARY},
};

const LOGIN: &str = "/countersign.v1.AuthService/Login";
const LOGIN_REST: &str = "/api/v1/auth/login";

/// A server, a person on it whose password no answer may repeat, and what must still be there at the end.
struct Besieged {
    server: Server,
    token: String,
    key: String,
    user_id: String,
}

impl Besieged {
    async fn start(kind: Kind) -> Self {
        // Whoever is made to wait is not listened to, and here every wrong password is to be looked at.
        let patient = Setup::new(kind)
            .await
            .set("THROTTLE__ACCOUNT_FREE_FAILURES", "999")
            .set("THROTTLE__ACCOUNT_MAX_FAILURES", "1000");
        let server = patient.start().await;
        let account = pb::RegisterRequest {
            email: EMAIL.to_owned(),
            password: CANARY.to_owned(),
            ..Default::default()
        };
        let id = server.auth().register(account).await.unwrap().into_inner().user.unwrap().id;
        // So that what administers is besieged, too, behind its first line.
        let operator = server.replica().domain().await;
        let scopes = Scopes::parse(["countersign:admin"]).unwrap();
        operator.grant_scopes(id.parse().unwrap(), &scopes, &Administrator::operator()).await.unwrap();
        let issued = server.login(EMAIL, CANARY).await.unwrap();
        let key = server.create_key(&issued.access_token, &[]).await.secret;
        Self { server, token: issued.access_token, key, user_id: issued.user.unwrap().id }
    }

    fn authorization(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// Nothing is lost: the person signs in as ever, and all that is theirs is there.
    async fn assert_well(&self) {
        let again = self.server.login(EMAIL, CANARY).await.expect("a sign-in as ever");
        assert_eq!(again.user.unwrap().id, self.user_id);
        let keys = self.server.keys().list_keys(bearer(&self.token, pb::ListKeysRequest::default())).await;
        assert_eq!(keys.unwrap().into_inner().keys.iter().filter(|key| key.name == "test").count(), 1);
    }
}

fn login() -> Vec<u8> {
    pb::LoginRequest { email: EMAIL.to_owned(), password: CANARY.to_owned() }.encode_to_vec()
}

fn assert_field(answer: &Answer, field: &str, what: &str) {
    answer.expect("INVALID_FIELD", what);
    let violations = &answer.failure().violations;
    assert!(violations.iter().any(|(name, _)| name == field), "{what}: {field} is not in {violations:?}");
}
