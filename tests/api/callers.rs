//! Who may call: what each kind of credential is answered where a user is needed, and where anybody with one
//! will do.

use countersign::api::pb::{self, CredentialStatus as S};
use tonic::{Code, Request, Status, metadata::MetadataMap};

use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, api_key, bearer, expect_invalid, expect_status, reason},
};

/// Calls every RPC that needs a user, each so that it would do something.
async fn user_rpcs(
    server: &Server,
    (session_id, key_id): (&str, &str),
    present: impl Fn(&mut MetadataMap),
) -> Vec<(&'static str, Result<(), Status>)> {
    let (mut auth, mut keys) = (server.auth(), server.keys());
    macro_rules! call {
        ($client:ident.$rpc:ident($message:expr)) => {{
            let mut request = Request::new($message);
            present(request.metadata_mut());
            (stringify!($rpc), $client.$rpc(request).await.map(|_| ()))
        }};
    }
    let (session_id, key_id) = (session_id.to_owned(), key_id.to_owned());
    let name = Some("changed".to_owned());
    let password = Some(PASSWORD.to_owned());
    vec![
        call!(auth.logout(pb::LogoutRequest::default())),
        call!(auth.update_me(pb::UpdateMeRequest { name: name.clone(), ..Default::default() })),
        call!(auth.change_password(pb::ChangePasswordRequest {
            current_password: PASSWORD.to_owned(),
            new_password: "staple the battery".to_owned(),
        })),
        call!(auth.list_sessions(pb::ListSessionsRequest::default())),
        call!(auth.revoke_session(pb::RevokeSessionRequest { session_id })),
        call!(auth.revoke_all_sessions(pb::RevokeAllSessionsRequest { keep_current: false })),
        call!(keys.create_key(pb::CreateKeyRequest { name: "made".to_owned(), ..Default::default() })),
        call!(keys.list_keys(pb::ListKeysRequest::default())),
        call!(keys.get_key(pb::GetKeyRequest { key_id: key_id.clone() })),
        call!(keys.update_key(pb::UpdateKeyRequest { key_id: key_id.clone(), name, ..Default::default() })),
        call!(keys.rotate_key(pb::RotateKeyRequest { key_id: key_id.clone(), grace_period: None })),
        call!(keys.revoke_key(pb::RevokeKeyRequest { key_id })),
        call!(auth.delete_me(pb::DeleteMeRequest { password })),
    ]
}

on_both! {
    async fn whoever_is_no_user_is_told_why_and_changes_nothing(database: Kind) {
        // S35
        let server = Server::start(database).await;
        let expired = server.register().await.access_token;
        server.advance(900);
        let revoked = server.login(EMAIL, PASSWORD).await.unwrap().access_token;
        server.logout(&revoked).await.unwrap();
        let tokens = server.login(EMAIL, PASSWORD).await.unwrap();
        let session_id = server.validate(&tokens.access_token).await.principal.unwrap().session_id;
        let key = server.create_key(&tokens.access_token, &[]).await;
        let key_id = key.key.unwrap().id;
        let disabled = server.register_as("disabled@example.com").await.access_token;
        let disable = "UPDATE users SET disabled_time = create_time WHERE email = 'disabled@example.com'";
        server.database.execute(disable).await;
        let other_end = if key.secret.ends_with('0') { "1" } else { "0" };
        let unknown = format!("{}{other_end}", &key.secret[..51]);

        let header = |name: &'static str, value: &str| vec![(name, value.to_owned())];
        let bearer = |token: &str| header("authorization", &format!("Bearer {token}"));
        for (headers, code, expected) in [
            (vec![], Code::Unauthenticated, "MISSING_CREDENTIAL"),
            (header("x-api-key", &key.secret), Code::PermissionDenied, "SESSION_REQUIRED"),
            (bearer(&key.secret), Code::PermissionDenied, "SESSION_REQUIRED"),
            (bearer(&expired), Code::Unauthenticated, "CREDENTIAL_EXPIRED"),
            (bearer(&revoked), Code::Unauthenticated, "CREDENTIAL_REVOKED"),
            (bearer(&disabled), Code::PermissionDenied, "ACCOUNT_DISABLED"),
            (bearer("nonsense"), Code::Unauthenticated, "INVALID_CREDENTIAL"),
            (bearer(""), Code::Unauthenticated, "INVALID_CREDENTIAL"),
            (bearer(&tokens.refresh_token), Code::Unauthenticated, "INVALID_CREDENTIAL"),
            (header("authorization", &tokens.access_token), Code::Unauthenticated, "INVALID_CREDENTIAL"),
            (header("authorization", "Basic dTpw"), Code::Unauthenticated, "INVALID_CREDENTIAL"),
            (header("x-api-key", &unknown), Code::Unauthenticated, "INVALID_CREDENTIAL"),
            (header("x-api-key", &tokens.access_token), Code::Unauthenticated, "INVALID_CREDENTIAL"),
            (
                [bearer(&tokens.access_token), header("x-api-key", &key.secret)].concat(),
                Code::InvalidArgument,
                "INVALID_FIELD",
            ),
        ] {
            let present = |metadata: &mut MetadataMap| {
                for (name, value) in &headers {
                    metadata.insert(*name, value.parse().unwrap());
                }
            };
            for (rpc, answer) in user_rpcs(&server, (&session_id, &key_id), present).await {
                let status = answer.expect_err(rpc);
                assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{rpc} {headers:?}");
            }
        }

        assert_eq!(server.status_of(&tokens.access_token).await, S::Valid);
        assert_eq!(server.status_of(&key.secret).await, S::Valid);
        server.login(EMAIL, PASSWORD).await.unwrap();
        assert_eq!(server.database.query_text("SELECT name FROM api_keys").await, ["test"]);
        assert_eq!(server.database.query_text("SELECT DISTINCT name FROM users").await, [""]);
    }
}

on_both! {
    async fn a_user_may_call_all_of_it(database: Kind) {
        let server = Server::start(database).await;
        let tokens = server.register().await;
        // Some of the calls end the caller's session, so each is made in one of its own.
        let count = user_rpcs(&server, ("", ""), |_| ()).await.len();
        for at in 0..count {
            let caller = server.login(EMAIL, PASSWORD).await.unwrap().access_token;
            let session_id = server.validate(&caller).await.principal.unwrap().session_id;
            let key_id = server.create_key(&caller, &[]).await.key.unwrap().id;
            let other = std::cell::Cell::new(0);
            let answers = user_rpcs(&server, (&session_id, &key_id), |metadata| {
                if other.replace(other.get() + 1) == at {
                    metadata.insert("authorization", format!("Bearer {caller}").parse().unwrap());
                }
            })
            .await;
            let (rpc, answer) = &answers[at];
            assert!(answer.is_ok(), "{rpc}: {answer:?}");
            // The password is back as it was for the next.
            if *rpc == "change_password" {
                server.change_password(&caller, "staple the battery", PASSWORD).await.unwrap();
            }
        }
        expect_status(server.get_me(&tokens.access_token).await, Code::Unauthenticated, "CREDENTIAL_REVOKED");
    }
}

on_both! {
    async fn a_key_may_ask_whose_it_is(database: Kind) {
        let server = Server::start(database).await;
        let tokens = server.register().await;
        let secret = server.create_key(&tokens.access_token, &[]).await.secret;
        let me = server.get_me(&tokens.access_token).await.unwrap();
        let by_header = server.auth().get_me(api_key(&secret, pb::GetMeRequest {})).await.unwrap();
        assert_eq!(by_header.into_inner(), me);
        // Also as a bearer token, whose scheme has no case (RFC 9110, 11.1).
        assert_eq!(server.get_me(&secret).await.unwrap(), me);
        let mut request = Request::new(pb::GetMeRequest {});
        request.metadata_mut().insert("authorization", format!("bearer {secret}").parse().unwrap());
        assert_eq!(server.auth().get_me(request).await.unwrap().into_inner(), me);

        let mut both = bearer(&tokens.access_token, pb::GetMeRequest {});
        both.metadata_mut().insert("x-api-key", secret.parse().unwrap());
        expect_invalid(server.auth().get_me(both).await, "authorization");
        let nobody = server.auth().get_me(pb::GetMeRequest {}).await;
        expect_status(nobody, Code::Unauthenticated, "MISSING_CREDENTIAL");
    }
}

on_both! {
    async fn rpcs_that_take_no_credential_do_not_look_at_one(database: Kind) {
        let server = Server::start(database).await;
        let tokens = server.register().await;
        let mut auth = server.auth();
        let login = pb::LoginRequest { email: EMAIL.to_owned(), password: PASSWORD.to_owned() };
        auth.login(bearer("nonsense", login)).await.unwrap();
        auth.list_verification_keys(bearer("nonsense", pb::ListVerificationKeysRequest {})).await.unwrap();
        let validate = pb::ValidateCredentialRequest { credential: tokens.access_token, ..Default::default() };
        auth.validate_credential(bearer("nonsense", validate)).await.unwrap();
        let refresh = pb::RefreshRequest { refresh_token: tokens.refresh_token.clone() };
        let tokens = auth.refresh(bearer("nonsense", refresh)).await.unwrap().into_inner();
        let logout = pb::LogoutRequest { refresh_token: Some(tokens.refresh_token) };
        auth.logout(bearer("nonsense", logout)).await.unwrap();
        assert_eq!(server.status_of(&tokens.access_token).await, S::Revoked);
    }
}
