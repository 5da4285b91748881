//! Signing in by an OpenID Connect provider, which stands in on this machine; what may go wrong with it is tried here and in
//! `tests/provider`.

use std::sync::Arc;

use countersign::{
    api::pb::{self, CredentialStatus as S},
    domain::Administrator,
};
use http::Method;
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    common::Kind,
    idp::{Idp, Signed},
    on_both,
    provider::{
        REDIRECT, complete, configure, link, linking, nonce, returned, setup, sign_in, start, start_link,
        started,
    },
    support::{EMAIL, PASSWORD, Server, bearer, expect_status},
};

on_both! {
    async fn a_person_is_known_again_and_their_token_is_valid(database: Kind) {
        // S45
        let (server, idp) = started(database).await;
        let tokens = sign_in(&server, &idp, |_| {}).await.unwrap();
        let user = tokens.user.unwrap();
        assert!(user.email == "ann@example.com" && user.email_verified && user.name == "Ann", "{user:?}");
        assert_eq!(server.status_of(&tokens.access_token).await, S::Valid);
        // Whatever address and name they have there by now (S45).
        let again = sign_in(&server, &idp, |claims| claims["email"] = json!("ann@elsewhere.example")).await.unwrap();
        assert_eq!(again.user.unwrap(), user);
        let unverified = sign_in(&server, &idp, |claims| claims["email_verified"] = json!(false)).await.unwrap();
        assert_eq!(unverified.user.unwrap().id, user.id);
        // Nobody signs in by a password that there is not (S7).
        expect_status(server.login("ann@example.com", "").await, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
    }
}

on_both! {
    async fn a_sign_in_is_bound_to_its_state_secret_provider_and_uri_vaultwarden_cve_2026_47158(database: Kind) {
        // S43, S44, S49
        let (server, idp) = started(database).await;
        let first = start(&server).await;
        let other = start(&server).await;
        idp.issue(&idp.claims(Some(&nonce(&first))), Signed::Well);
        let wrong = |change: &dyn Fn(&mut pb::CompleteOAuthRequest)| {
            let mut request = returned(&first);
            change(&mut request);
            complete(&server, request)
        };
        for (answer, reason) in [
            (wrong(&|r| r.flow_secret = None).await, "OAUTH_STATE_INVALID"),
            (wrong(&|r| r.flow_secret = Some(other.flow_secret.clone())).await, "OAUTH_STATE_INVALID"),
            (wrong(&|r| r.state = Some(format!("os_{}", "A".repeat(43)))).await, "OAUTH_STATE_INVALID"),
            (wrong(&|r| r.state = Some(String::new())).await, "OAUTH_STATE_INVALID"),
            (wrong(&|r| r.provider = String::from("twin")).await, "OAUTH_STATE_INVALID"),
            (wrong(&|r| r.redirect_uri = String::from("https://app.example.com/other")).await, "OAUTH_STATE_INVALID"),
            (wrong(&|r| r.redirect_uri = String::from("https://app.example.com/callback/")).await, "REDIRECT_URI_NOT_ALLOWED"),
            (wrong(&|r| r.provider = String::from("nobody")).await, "UNKNOWN_PROVIDER"),
        ] {
            expect_status(answer, Code::InvalidArgument, reason);
        }
        // Another flow's nonce is in the ID token.
        let answer = complete(&server, returned(&other)).await;
        expect_status(answer, Code::InvalidArgument, "OAUTH_CODE_REFUSED");
        complete(&server, returned(&first)).await.unwrap();
        for used in [&first, &other] {
            expect_status(complete(&server, returned(used)).await, Code::InvalidArgument, "OAUTH_STATE_INVALID");
        }
        let late = start(&server).await;
        server.advance(10 * 60);
        expect_status(complete(&server, returned(&late)).await, Code::InvalidArgument, "OAUTH_STATE_INVALID");
        let start = pb::StartOAuthRequest { provider: "idp".to_owned(), redirect_uri: "https://evil.example".to_owned() };
        expect_status(server.auth().start_o_auth(start).await, Code::InvalidArgument, "REDIRECT_URI_NOT_ALLOWED");
    }
}

on_both! {
    async fn a_client_that_made_its_own_request_needs_no_state_unless_it_is_required(database: Kind) {
        let (server, idp) = started(database).await;
        idp.issue(&idp.claims(None), Signed::Well);
        let request = || pb::CompleteOAuthRequest {
            provider: "idp".to_owned(), code: "good".to_owned(), redirect_uri: REDIRECT.to_owned(), state: None, flow_secret: None, iss: None,
        };
        complete(&server, request()).await.unwrap();
        let refused = complete(&server, pb::CompleteOAuthRequest { code: "used".to_owned(), ..request() }).await;
        expect_status(refused, Code::InvalidArgument, "OAUTH_CODE_REFUSED");
        let strict = configure(server.replica(), &idp).set("OAUTH__REQUIRE_STATE", "true");
        server.stop().await;
        let server = strict.start().await;
        expect_status(complete(&server, request()).await, Code::InvalidArgument, "OAUTH_STATE_INVALID");
    }
}

on_both! {
    async fn only_an_address_that_the_provider_vouches_for_leads_to_an_account_vaultwarden_cve_2026_47164(database: Kind) {
        // S46, S47; Casdoor CVE-2026-9092
        let (server, idp) = started(database).await;
        server.register().await;
        let verify = server.mailed_token().await;
        server.verify_email(&verify).await.unwrap();
        for verified in [json!(false), Value::Null] {
            let answer = sign_in(&server, &idp, |claims| {
                claims["email"] = json!(EMAIL);
                claims["email_verified"] = verified;
            });
            expect_status(answer.await, Code::InvalidArgument, "OAUTH_CODE_REFUSED");
        }
        assert!(server.database.query_text("SELECT subject FROM identities").await.is_empty());
        // The account's own is proven, too: so it is linked, and the owner is told (S42).
        let tokens = sign_in(&server, &idp, |claims| claims["email"] = json!(EMAIL)).await.unwrap();
        assert_eq!(tokens.user.unwrap().email, EMAIL);
        assert!(server.new_mail().await.text.contains("Signing in by idp was added."));
        // The password stays.
        server.login(EMAIL, PASSWORD).await.unwrap();
    }
}

on_both! {
    async fn as_first_proof_of_the_address_it_clears_what_was_made_before(database: Kind) {
        // S21, S46
        let (server, idp) = started(database).await;
        let squatter = server.register().await;
        let key = server.create_key(&squatter.access_token, &[]).await.secret;
        let verify = server.mailed_token().await;
        server.forgot_password(EMAIL).await.unwrap();
        let reset = server.mailed_token().await;
        let owner = sign_in(&server, &idp, |claims| claims["email"] = json!(EMAIL)).await.unwrap();
        assert_eq!(owner.user.unwrap().id, squatter.user.unwrap().id);
        assert_eq!(server.status_of(&squatter.access_token).await, S::Revoked);
        assert_eq!(server.status_of(&key).await, S::Revoked);
        expect_status(server.login(EMAIL, PASSWORD).await, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
        for answer in [
            server.verify_email(&verify).await.map(drop),
            server.reset_password(&reset, "a brand new one").await,
        ] {
            expect_status(answer, Code::InvalidArgument, "ONE_TIME_TOKEN_INVALID");
        }
        assert_eq!(server.status_of(&owner.access_token).await, S::Valid);
    }
}

on_both! {
    async fn of_many_at_once_there_is_one_account(database: Kind) {
        let (server, idp) = started(database).await;
        idp.issue(&idp.claims(None), Signed::Well);
        let request = || pb::CompleteOAuthRequest {
            provider: "idp".to_owned(), code: "good".to_owned(), redirect_uri: REDIRECT.to_owned(), state: None, flow_secret: None, iss: None,
        };
        let answers = futures_util::future::join_all((0..8).map(|_| complete(&server, request()))).await;
        let ids: std::collections::HashSet<_> = answers.into_iter().map(|answer| answer.unwrap().user.unwrap().id).collect();
        assert_eq!(ids.len(), 1);
    }
}

on_both! {
    async fn who_may_not_sign_in_may_not_by_a_provider_either(database: Kind) {
        let (server, idp) = started(database).await;
        let user = sign_in(&server, &idp, |_| {}).await.unwrap().user.unwrap();
        let operator = server.replica().domain().await;
        operator.disable_user(user.id.parse().unwrap(), &Administrator::operator()).await.unwrap();
        expect_status(sign_in(&server, &idp, |_| {}).await, Code::PermissionDenied, "ACCOUNT_DISABLED");
        let closed = configure(server.replica(), &idp).set("ACCOUNTS__REGISTRATION", "closed");
        server.stop().await;
        let server = closed.start().await;
        let stranger = sign_in(&server, &idp, |claims| {
            claims["sub"] = json!("subject-2");
            claims["email"] = json!("new@example.com");
        });
        expect_status(stranger.await, Code::PermissionDenied, "REGISTRATION_CLOSED");
    }
}

on_both! {
    async fn an_identity_is_linked_by_who_started_it_and_the_last_way_in_stays(database: Kind) {
        let (server, idp) = started(database).await;
        let ann = server.register().await.access_token;
        let bob = server.register_as("bob@example.com").await.access_token;
        let verify = "UPDATE users SET email_verified_time = create_time";
        let end = async |token: &str, started: &pb::StartOAuthResponse| {
            server.auth().complete_link(bearer(token, linking(started))).await.map(tonic::Response::into_inner)
        };
        let started = start_link(&server, &ann).await;
        idp.issue(&idp.claims(Some(&nonce(&started))), Signed::Well);
        // Neither another, nor as a sign-in.
        expect_status(end(&bob, &started).await, Code::InvalidArgument, "OAUTH_STATE_INVALID");
        expect_status(complete(&server, returned(&started)).await, Code::InvalidArgument, "OAUTH_STATE_INVALID");
        server.advance(1);
        // Whoever registered a stranger's address may not leave a way in.
        expect_status(end(&ann, &started).await, Code::PermissionDenied, "EMAIL_NOT_VERIFIED");
        server.database.execute(verify).await;
        let started = start_link(&server, &ann).await;
        idp.issue(&idp.claims(Some(&nonce(&started))), Signed::Well);
        let identity = end(&ann, &started).await.unwrap();
        assert_eq!((identity.provider.as_str(), identity.subject.as_str()), ("idp", "subject-1"));
        let started = start_link(&server, &bob).await;
        idp.issue(&idp.claims(Some(&nonce(&started))), Signed::Well);
        expect_status(end(&bob, &started).await, Code::AlreadyExists, "IDENTITY_ALREADY_LINKED");

        let listed = server.auth().list_identities(bearer(&ann, pb::ListIdentitiesRequest {})).await.unwrap();
        assert_eq!(listed.into_inner().identities, std::slice::from_ref(&identity));
        let unlink = async |token: &str| {
            let request = pb::UnlinkRequest { identity_id: identity.id.clone() };
            server.auth().unlink(bearer(token, request)).await.map(drop)
        };
        expect_status(unlink(&bob).await, Code::NotFound, "NOT_FOUND");
        server.database.execute("UPDATE users SET password_hash = NULL WHERE email = 'user@example.com'").await;
        expect_status(unlink(&ann).await, Code::FailedPrecondition, "LAST_WAY_IN");
        server.database.execute("UPDATE users SET password_hash = 'x' WHERE email = 'user@example.com'").await;
        server.advance(1);
        unlink(&ann).await.unwrap();
        assert_eq!(server.events(&ann).await[..2], ["UNLINK_IDENTITY SUCCEEDED", "LINK_IDENTITY SUCCEEDED"]);
        expect_status(unlink(&ann).await, Code::NotFound, "NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_is_started_on_one_replica_is_completed_on_another() {
    // S43
    let (server, idp) = started(Kind::Postgres).await;
    let other = configure(server.replica(), &idp).start().await;
    let started = start(&server).await;
    idp.issue(&idp.claims(Some(&nonce(&started))), Signed::Well);
    complete(&other, returned(&started)).await.unwrap();
    expect_status(complete(&server, returned(&started)).await, Code::InvalidArgument, "OAUTH_STATE_INVALID");
}

on_both! {
    async fn a_provider_that_is_away_leaves_nothing_half_made(database: Kind) {
        // S50
        let (server, idp) = started(database).await;
        let away = configure(server.replica(), &idp).set("OAUTH__PROVIDERS__IDP__ISSUER", "http://127.0.0.1:1");
        server.stop().await;
        let server = away.start().await;
        let request = pb::StartOAuthRequest { provider: "idp".to_owned(), redirect_uri: REDIRECT.to_owned() };
        expect_status(server.auth().start_o_auth(request).await, Code::Unavailable, "PROVIDER_UNAVAILABLE");
        assert!(server.database.query_text("SELECT provider FROM oauth_flows").await.is_empty());
    }
}

on_both! {
    async fn an_answer_of_another_issuer_is_refused_and_one_of_the_providers_is_not(database: Kind) {
        // S44, RFC 9207
        let (server, idp) = started(database).await;
        let flow = start(&server).await;
        idp.issue(&idp.claims(Some(&nonce(&flow))), Signed::Well);
        for iss in [String::new(), "https://evil.example".to_owned(), format!("{}/", idp.issuer)] {
            let answer = complete(&server, pb::CompleteOAuthRequest { iss: Some(iss), ..returned(&flow) }).await;
            expect_status(answer, Code::InvalidArgument, "OAUTH_STATE_INVALID");
        }
        let iss = Some(idp.issuer.clone());
        complete(&server, pb::CompleteOAuthRequest { iss, ..returned(&flow) }).await.unwrap();
    }
}

on_both! {
    async fn a_sign_in_that_was_started_here_is_not_completed_without_its_state(database: Kind) {
        // S43: whoever comes by somebody's code, but not by their flow secret, has nothing.
        let (server, idp) = started(database).await;
        let flow = start(&server).await;
        idp.issue(&idp.claims(Some(&nonce(&flow))), Signed::Well);
        let stolen = pb::CompleteOAuthRequest { state: None, flow_secret: None, ..returned(&flow) };
        expect_status(complete(&server, stolen).await, Code::InvalidArgument, "OAUTH_CODE_REFUSED");
        complete(&server, returned(&flow)).await.unwrap();
    }
}

on_both! {
    async fn what_cannot_be_a_code_is_told_by_its_name_and_ends_nothing(database: Kind) {
        let (server, idp) = started(database).await;
        let flow = start(&server).await;
        idp.issue(&idp.claims(Some(&nonce(&flow))), Signed::Well);
        for code in [String::new(), "a".repeat(4097), "a\nb".to_owned(), "a\0".to_owned()] {
            let status = complete(&server, pb::CompleteOAuthRequest { code, ..returned(&flow) }).await.unwrap_err();
            assert!(status.message().starts_with("code: "), "{status:?}");
            expect_status::<()>(Err(status), Code::InvalidArgument, "INVALID_FIELD");
        }
        complete(&server, returned(&flow)).await.unwrap();
    }
}

on_both! {
    async fn an_address_fails_so_often_and_starts_ten_times_as_often(database: Kind) {
        // S12
        let idp = Idp::start(false).await;
        let setup = setup(database, &idp).await;
        let setup = setup.set("SERVER__TRUSTED_PROXIES", "127.0.0.1").set("THROTTLE__ADDRESS_FAILURES_PER_MINUTE", "2");
        let server = setup.start().await;
        let post = async |from: &str, path: &str, body: Value| {
            let headers = [("x-forwarded-for", from)];
            let (status, body) = server.rest(Method::POST, path, &headers, Some(body)).await;
            (status.as_u16(), body["reason"].as_str().unwrap_or_default().to_owned())
        };
        let bad = || json!({"code": "used", "redirect_uri": REDIRECT});
        let callback = "/api/v1/auth/idp/callback";
        for _ in 0..2 {
            assert_eq!(post("203.0.113.7", callback, bad()).await, (400, "OAUTH_CODE_REFUSED".to_owned()));
        }
        idp.issue(&idp.claims(None), Signed::Well);
        let good = || json!({"code": "good", "redirect_uri": REDIRECT});
        assert_eq!(post("203.0.113.7", callback, good()).await, (429, "TOO_MANY_ATTEMPTS".to_owned()));
        assert_eq!(post("203.0.113.8", callback, good()).await.0, 200);
        // Which is no failed sign-in by password.
        let login = json!({"email": EMAIL, "password": PASSWORD});
        let refused = post("203.0.113.7", "/api/v1/auth/login", login).await;
        assert_eq!(refused, (401, "WRONG_EMAIL_OR_PASSWORD".to_owned()));
        let start = || json!({"redirect_uri": REDIRECT});
        for _ in 0..20 {
            assert_eq!(post("203.0.113.9", "/api/v1/auth/idp/authorize", start()).await.0, 200);
        }
        assert_eq!(post("203.0.113.9", "/api/v1/auth/idp/authorize", start()).await.0, 429);
        assert_eq!(server.database.query_text("SELECT provider FROM oauth_flows").await.len(), 20);
        server.advance(60);
        assert_eq!(post("203.0.113.9", "/api/v1/auth/idp/authorize", start()).await.0, 200);
        assert_eq!(post("203.0.113.7", callback, good()).await.0, 200);
    }
}

on_both! {
    async fn by_a_provider_that_is_no_longer_configured_nobody_gets_in_so_it_is_no_way(database: Kind) {
        let (server, idp) = started(database).await;
        let token = sign_in(&server, &idp, |_| {}).await.unwrap().access_token;
        let id = match database {
            Kind::Sqlite => "x'01900000000070008000000000000000'",
            Kind::Postgres => "'01900000000070008000000000000000'::uuid",
        };
        let insert = format!(
            "INSERT INTO identities (id, user_id, provider, issuer, subject, create_time, last_used_time) \
             SELECT {id}, user_id, 'gone', 'https://gone.example', 'subject', create_time, create_time FROM identities"
        );
        server.database.execute(&insert).await;
        let listed = server.auth().list_identities(bearer(&token, pb::ListIdentitiesRequest {})).await.unwrap();
        // The one that is left over is the older by its name.
        for identity in listed.into_inner().identities.into_iter().rev() {
            let request = pb::UnlinkRequest { identity_id: identity.id };
            let answer = server.auth().unlink(bearer(&token, request)).await;
            if identity.provider == "gone" {
                answer.unwrap();
            } else {
                expect_status(answer, Code::FailedPrecondition, "LAST_WAY_IN");
            }
        }
    }
}

/// A code of a provider that the client asked for itself.
fn stateless(provider: &str) -> pb::CompleteOAuthRequest {
    pb::CompleteOAuthRequest {
        provider: provider.to_owned(),
        code: "good".to_owned(),
        redirect_uri: REDIRECT.to_owned(),
        ..Default::default()
    }
}

/// A service with two providers that know nothing of each other: `idp` and `twin`.
async fn two_providers(database: Kind) -> (Server, [Arc<Idp>; 2]) {
    let idps = [Idp::start(false).await, Idp::start(false).await];
    let setup = setup(database, &idps[0]).await;
    let server = setup.set("OAUTH__PROVIDERS__TWIN__ISSUER", &idps[1].issuer).start().await;
    for idp in &idps {
        idp.issue(&idp.claims(None), Signed::Well);
    }
    (server, idps)
}

on_both! {
    async fn the_same_address_at_two_providers_is_one_person_and_the_same_subject_is_not(database: Kind) {
        // S45, S46
        let (server, [_, twin]) = two_providers(database).await;
        let user = complete(&server, stateless("idp")).await.unwrap().user.unwrap();
        // Nobody by what the second only says.
        let mut claims = twin.claims(None);
        claims["email_verified"] = json!(false);
        twin.issue(&claims, Signed::Well);
        let unverified = complete(&server, stateless("twin")).await;
        expect_status(unverified, Code::InvalidArgument, "OAUTH_CODE_REFUSED");
        // Another of the same subject.
        claims["email_verified"] = json!(true);
        claims["email"] = json!("bob@example.com");
        twin.issue(&claims, Signed::Well);
        assert_ne!(complete(&server, stateless("twin")).await.unwrap().user.unwrap().id, user.id);
        // And the same person, by the same address.
        claims["sub"] = json!("subject-2");
        claims["email"] = json!("ann@example.com");
        twin.issue(&claims, Signed::Well);
        assert_eq!(complete(&server, stateless("twin")).await.unwrap().user.unwrap().id, user.id);
        assert_eq!(server.database.query_text("SELECT subject FROM identities").await.len(), 3);
    }
}

on_both! {
    async fn of_many_at_once_by_two_providers_there_is_one_account(database: Kind) {
        let (server, _idps) = two_providers(database).await;
        let all = (0..8).map(|number| complete(&server, stateless(["idp", "twin"][number % 2])));
        let mut ids = Vec::new();
        for answer in futures_util::future::join_all(all).await {
            match answer {
                Ok(tokens) => ids.push(tokens.user.unwrap().id),
                // Whoever came too often to another's hindrance may try again.
                Err(status) => expect_status::<()>(Err(status), Code::ResourceExhausted, "OVERLOADED"),
            }
        }
        ids.dedup();
        assert_eq!(ids.len(), 1);
        assert_eq!(server.database.query_text("SELECT email FROM users").await.len(), 1);
    }
}

on_both! {
    async fn a_link_is_completed_once_and_of_two_ways_in_that_go_at_once_one_stays(database: Kind) {
        let (server, [idp, _twin]) = two_providers(database).await;
        let ann = server.register_as("ann@here.example").await.access_token;
        server.database.execute("UPDATE users SET email_verified_time = create_time").await;
        let started = start_link(&server, &ann).await;
        idp.issue(&idp.claims(Some(&nonce(&started))), Signed::Well);
        let complete_link = || {
            let (mut auth, request) = (server.auth(), bearer(&ann, linking(&started)));
            async move { auth.complete_link(request).await }
        };
        let twice = tokio::join!(complete_link(), complete_link());
        let refused = [twice.0, twice.1].into_iter().filter_map(Result::err).collect::<Vec<_>>();
        assert_eq!(refused.len(), 1);
        expect_status::<()>(Err(refused[0].clone()), Code::InvalidArgument, "OAUTH_STATE_INVALID");

        // Both of the ways in of somebody without a password, removed at once.
        let by_twin = complete(&server, stateless("twin")).await.unwrap();
        link(&server, &idp, &by_twin.access_token, "another").await.unwrap();
        let listed = async || {
            let request = bearer(&by_twin.access_token, pb::ListIdentitiesRequest {});
            server.auth().list_identities(request).await.unwrap().into_inner().identities
        };
        let [one, other] = listed().await.try_into().unwrap();
        let unlink = |identity_id: String| {
            let request = bearer(&by_twin.access_token, pb::UnlinkRequest { identity_id });
            let mut auth = server.auth();
            async move { auth.unlink(request).await }
        };
        let both = tokio::join!(unlink(one.id), unlink(other.id));
        let refused = [both.0, both.1].into_iter().find_map(Result::err).unwrap();
        expect_status::<()>(Err(refused), Code::FailedPrecondition, "LAST_WAY_IN");
        assert_eq!(listed().await.len(), 1);
    }
}
