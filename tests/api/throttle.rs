//! Failures are counted and held back, on the database, so on all replicas together (S8–S13).

use std::{collections::HashSet, time::Duration};

use countersign::{
    api::pb::{self, CredentialStatus as S},
    domain::{Client, Error},
    types::{Email, Password},
};
use futures_util::future::join_all;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, Setup, bearer, expect_status, reason},
};

const WRONG: &str = "not it at all";
const NEW: &str = "staple the battery";

fn delay(status: &Status) -> Option<Duration> {
    status.get_error_details().retry_info().and_then(|info| info.retry_delay)
}

/// Expects to be held back for so many seconds.
#[track_caller]
fn expect_held<T: std::fmt::Debug>(answer: Result<T, Status>, seconds: u64) {
    let status = answer.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "TOO_MANY_ATTEMPTS"),
        "{status:?}"
    );
    assert_eq!(delay(&status), Some(Duration::from_secs(seconds)), "{status:?}");
}

#[track_caller]
fn expect_wrong<T: std::fmt::Debug>(answer: Result<T, Status>) {
    expect_status(answer, Code::Unauthenticated, "WRONG_EMAIL_OR_PASSWORD");
}

/// How many passwords were compared and found wrong.
async fn evaluated(server: &Server) -> usize {
    let failed = "SELECT action FROM events WHERE action = 'sign_in' AND outcome = 'failed'";
    server.database.query_text(failed).await.len()
}

/// A sign-in over REST, by whoever a proxy says. All that the client sees but for the date.
async fn login_from(
    server: &Server,
    forwarded: &str,
    email: &str,
    password: &str,
) -> (StatusCode, HeaderMap, String) {
    let body = json!({ "email": email, "password": password }).to_string();
    let request = Request::builder()
        .method(Method::POST)
        .uri(server.url("/api/v1/auth/login"))
        .header("content-type", "application/json")
        .header("x-forwarded-for", forwarded)
        .body(body.into())
        .unwrap();
    let (mut parts, body) = server.send(request).await.into_parts();
    parts.headers.remove("date");
    parts.headers.remove("x-request-id");
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

on_both! {
    async fn from_the_fifth_failure_on_the_wait_doubles(database: Kind) {
        // S8
        let server = Server::start(database).await;
        server.register().await;
        for _ in 0..5 {
            expect_wrong(server.login(EMAIL, WRONG).await);
        }
        for seconds in [1, 2, 4, 8, 16] {
            // The right one is not looked at either, and being held back is no failure.
            expect_held(server.login(EMAIL, PASSWORD).await, seconds);
            expect_held(server.login(EMAIL, WRONG).await, seconds);
            server.advance(seconds - 1);
            expect_held(server.login(EMAIL, PASSWORD).await, 1);
            server.advance(1);
            expect_wrong(server.login(EMAIL, WRONG).await);
        }
        server.advance(32);
        server.login(EMAIL, PASSWORD).await.unwrap();
        // It begins anew.
        for _ in 0..5 {
            expect_wrong(server.login(EMAIL, WRONG).await);
        }
        expect_held(server.login(EMAIL, PASSWORD).await, 1);
    }
}

on_both! {
    async fn every_door_tells_the_delay(database: Kind) {
        // S8
        let server = Server::start(database).await;
        for _ in 0..5 {
            expect_wrong(server.login(EMAIL, WRONG).await);
        }
        let (status, headers, body) = login_from(&server, "", EMAIL, WRONG).await;
        assert_eq!((status, &headers["retry-after"]), (StatusCode::TOO_MANY_REQUESTS, &http::HeaderValue::from_static("1")));
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((body["reason"].as_str(), body["retry_after"].as_f64()), (Some("TOO_MANY_ATTEMPTS"), Some(1.0)));
    }
}

on_both! {
    async fn after_a_hundred_failures_only_a_reset_helps(database: Kind) {
        // S8, S11
        let server = Server::start(database).await;
        let tokens = server.register().await;
        let key = server.create_key(&tokens.access_token, &[]).await.secret;
        let verify = server.mailed_token().await;
        server.verify_email(&verify).await.unwrap();
        for _ in 0..100 {
            expect_wrong(server.login(EMAIL, WRONG).await);
            server.advance(15 * 60);
        }
        server.advance(60 * 60);
        expect_held(server.login(EMAIL, PASSWORD).await, 15 * 60);
        // Live sessions and keys go on, to the end of their days (S11).
        let refreshed = server.refresh(&tokens.refresh_token).await.unwrap();
        server.get_me(&refreshed.access_token).await.unwrap();
        assert_eq!(server.status_of(&key).await, S::Valid);

        server.forgot_password(EMAIL).await.unwrap();
        let token = server.mailed_token().await;
        server.reset_password(&token, NEW).await.unwrap();
        server.login(EMAIL, NEW).await.unwrap();
        assert_eq!(server.status_of(&key).await, S::Valid);
    }
}

on_both! {
    async fn what_is_seen_depends_on_failures_and_never_on_existence(database: Kind) {
        // S9, S14
        let server = Server::start(database).await;
        for email in ["user@example.com", "without@example.com", "disabled@example.com", "unverified@example.com"] {
            server.register_as(email).await;
        }
        server.database.execute("UPDATE users SET email_verified_time = create_time WHERE email NOT LIKE 'unverified%'").await;
        server.database.execute("UPDATE users SET password_hash = NULL WHERE email LIKE 'without%'").await;
        server.database.execute("UPDATE users SET disabled_time = create_time WHERE email LIKE 'disabled%'").await;
        let emails = ["user@example.com", "without@example.com", "disabled@example.com", "unverified@example.com", "nobody@example.com"];
        for (advance, expected) in
            [(0, 401), (0, 401), (0, 401), (0, 401), (0, 401), (0, 429), (1, 401), (0, 429), (1, 429), (1, 401), (0, 429)]
        {
            server.advance(advance);
            let mut answers = Vec::new();
            for email in emails {
                answers.push(login_from(&server, "", email, WRONG).await);
            }
            assert_eq!(answers[0].0, expected);
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        }
        for call in ["forgot-password", "resend-verification"] {
            // Past the fourth no mail is sent (S13), and nobody can tell.
            for _ in 0..5 {
                let mut answers = Vec::new();
                for email in emails {
                    let path = format!("/api/v1/auth/{call}");
                    answers.push(server.rest(Method::POST, &path, &[], Some(json!({ "email": email }))).await);
                }
                assert!(answers.iter().all(|answer| *answer == (StatusCode::OK, json!({}))), "{answers:?}");
            }
        }
    }
}

on_both! {
    async fn spellings_of_an_address_share_one_counter_authelia_cve_2025_24806(database: Kind) {
        // S9
        let server = Server::start(database).await;
        let email = "m\u{fc}ller@b\u{fc}cher.example";
        server.register_as(email).await;
        for spelling in [
            "M\u{dc}LLER@B\u{dc}CHER.EXAMPLE",
            "mu\u{308}ller@xn--bcher-kva.example",
            "  m\u{fc}ller@b\u{fc}cher.example\t",
            "M\u{fc}ller@XN--BCHER-KVA.Example",
        ] {
            expect_wrong(server.login(spelling, WRONG).await);
        }
        // And doors.
        let (status, ..) = login_from(&server, "", "M\u{fc}LLER@b\u{fc}cher.example", WRONG).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        expect_held(server.login(email, PASSWORD).await, 1);
    }
}

on_both! {
    async fn of_a_thousand_parallel_guesses_eight_are_evaluated(database: Kind) {
        // S10; vaultwarden CVE-2026-27801
        let server = Server::start(database).await;
        server.register().await;
        let client = server.auth();
        let guesses = (0..1000).map(|n| {
            let mut client = client.clone();
            let request = pb::LoginRequest { email: EMAIL.to_owned(), password: format!("guess number {n}") };
            async move { client.login(request).await.unwrap_err() }
        });
        let answers = join_all(guesses).await;
        let wrong = answers.iter().filter(|status| reason(status) == "WRONG_EMAIL_OR_PASSWORD").count();
        assert!(answers.iter().all(|status| ["WRONG_EMAIL_OR_PASSWORD", "TOO_MANY_ATTEMPTS"].contains(&reason(status).as_str())));
        assert!((5..=8).contains(&wrong), "{wrong}");
        assert_eq!(evaluated(&server).await, wrong);
    }
}

on_both! {
    async fn each_replica_evaluates_eight_at_most(database: Kind) {
        // S10
        if database == Kind::Sqlite {
            // It serves one process.
            return;
        }
        let server = Server::start(database).await;
        server.register().await;
        let other = server.replica().start().await;
        let guesses = (0..200).map(|n| {
            let mut client = if n % 2 == 0 { server.auth() } else { other.auth() };
            let request = pb::LoginRequest { email: EMAIL.to_owned(), password: format!("guess number {n}") };
            async move { client.login(request).await.unwrap_err() }
        });
        join_all(guesses).await;
        assert!((5..=16).contains(&evaluated(&server).await));
        expect_status(other.login(EMAIL, PASSWORD).await, Code::ResourceExhausted, "TOO_MANY_ATTEMPTS");
    }
}

on_both! {
    async fn right_sign_ins_at_once_all_succeed_after_failures_too(database: Kind) {
        // S10: it counts failures, never successes
        let server = Server::start(database).await;
        server.register().await;
        for _ in 0..4 {
            expect_wrong(server.login(EMAIL, WRONG).await);
        }
        let client = server.auth();
        let calls = (0..32).map(|_| {
            let mut client = client.clone();
            let request = pb::LoginRequest { email: EMAIL.to_owned(), password: PASSWORD.to_owned() };
            async move { client.login(request).await }
        });
        for answer in join_all(calls).await {
            answer.unwrap();
        }
    }
}

on_both! {
    async fn cancelled_failures_count_vikunja_cve_2026_35597(database: Kind) {
        // S10
        let server = Server::start(database).await;
        server.register().await;
        let mut patience = (1..=20).cycle();
        let mut answered = 0;
        let held = loop {
            // The deadline ends the call on the server while the password is hashed, sometimes before.
            let mut request = tonic::Request::new(pb::LoginRequest { email: EMAIL.to_owned(), password: WRONG.to_owned() });
            request.set_timeout(Duration::from_millis(patience.next().unwrap()));
            let status = server.auth().login(request).await.unwrap_err();
            match status.code() {
                // Those that were given up are still being hashed: it would come too late, and is not begun.
                Code::ResourceExhausted if reason(&status) == "OVERLOADED" => {}
                Code::ResourceExhausted => break status,
                Code::DeadlineExceeded | Code::Cancelled => {}
                Code::Unauthenticated => answered += 1,
                _ => panic!("{status:?}"),
            }
        };
        assert_eq!(reason(&held), "TOO_MANY_ATTEMPTS");
        let counted = evaluated(&server).await;
        assert!((5..=8).contains(&counted) && counted > answered, "{counted} with {answered} answers");
    }
}

on_both! {
    async fn a_sign_in_that_is_given_up_while_it_is_compared_counts(database: Kind) {
        // S10
        let setup = Setup::new(database).await;
        let domain = setup.domain().await;
        let mut tries = 0;
        loop {
            // Of an address without an account the hashes that were begun can be counted.
            let before = domain.dummy_hashes();
            let email = Email::parse("nobody@example.com").unwrap();
            let call = tokio::spawn({
                let domain = domain.clone();
                async move { domain.login(&email, Password::parse(WRONG).unwrap(), &Client::default()).await }
            });
            while domain.dummy_hashes() == before && !call.is_finished() {
                tokio::task::yield_now().await;
            }
            call.abort();
            match call.await {
                Err(cancelled) => assert!(cancelled.is_cancelled()),
                Ok(Err(Error::TooManyAttempts { .. })) => break,
                // It was faster than we are.
                Ok(answer) => assert!(matches!(answer, Err(Error::WrongEmailOrPassword)), "{answer:?}"),
            }
            tries += 1;
            assert!(tries < 1000, "who gives up is never counted");
        }
        let rows = setup.database.query_text("SELECT CAST(failures AS text) FROM password_failures").await;
        let counted: u64 = rows[0].parse().unwrap();
        assert!((5..=8).contains(&counted) && counted <= domain.dummy_hashes(), "{rows:?}");
    }
}

on_both! {
    async fn it_holds_across_restarts_and_replicas(database: Kind) {
        // S13
        let server = Server::start(database).await;
        server.register().await;
        for _ in 0..3 {
            expect_wrong(server.login(EMAIL, WRONG).await);
        }
        let server = server.restart().await;
        for _ in 0..2 {
            expect_wrong(server.login(EMAIL, WRONG).await);
        }
        expect_held(server.login(EMAIL, PASSWORD).await, 1);
        let server = server.restart().await;
        expect_held(server.login(EMAIL, PASSWORD).await, 1);
    }
}

on_both! {
    async fn a_password_cannot_be_guessed_by_a_stolen_token_either(database: Kind) {
        // S8; one counter for every call that takes the password
        let server = Server::start(database).await;
        let token = server.register().await.access_token;
        expect_wrong(server.login(EMAIL, WRONG).await);
        expect_wrong(server.change_password(&token, WRONG, NEW).await);
        let delete = || pb::DeleteMeRequest { password: Some(WRONG.to_owned()) };
        expect_wrong(server.auth().delete_me(bearer(&token, delete())).await);
        expect_wrong(server.request_email_change(&token, "new@example.com", Some(WRONG)).await);
        expect_wrong(server.change_password(&token, WRONG, NEW).await);
        expect_held(server.change_password(&token, PASSWORD, NEW).await, 1);
        expect_held(server.auth().delete_me(bearer(&token, delete())).await, 1);
        expect_held(server.login(EMAIL, PASSWORD).await, 1);
        server.advance(1);
        server.change_password(&token, PASSWORD, NEW).await.unwrap();
        server.login(EMAIL, NEW).await.unwrap();
    }
}

on_both! {
    async fn forged_addresses_do_not_help_authentik_cve_2023_36456(database: Kind) {
        // S12
        let server = Server::start(database).await;
        server.register().await;
        let mut statuses = HashSet::new();
        for n in 0..1000 {
            let forged = format!("203.0.{}.{}", n / 250, n % 250);
            statuses.insert(login_from(&server, &forged, EMAIL, &format!("guess {n}")).await.0);
        }
        assert_eq!(statuses, HashSet::from([StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS]));
        assert_eq!(evaluated(&server).await, 5);

        // Nor behind a proxy, which appends whom it sees: what its client forged stands before.
        let setup = server.replica().set("SERVER__TRUSTED_PROXIES", "127.0.0.1/32");
        server.stop().await;
        let server = setup.set("THROTTLE__ADDRESS_FAILURES_PER_MINUTE", "10").start().await;
        let before = evaluated(&server).await;
        for n in 0..1000 {
            login_from(&server, &format!("203.0.113.{}, 198.51.100.7", n % 250), &format!("nobody{n}@example.com"), WRONG).await;
        }
        assert_eq!(evaluated(&server).await - before, 10);
    }
}

on_both! {
    async fn an_address_is_held_back_after_thirty_failures_a_minute(database: Kind) {
        // S12
        let server = Setup::new(database).await.set("SERVER__TRUSTED_PROXIES", "127.0.0.1").start().await;
        server.register().await;
        let taken = json!({ "email": EMAIL, "password": PASSWORD });
        let register = async |from: &str| {
            server.rest(Method::POST, "/api/v1/auth/register", &[("x-forwarded-for", from)], Some(taken.clone())).await.0
        };
        // A registration that tells of an account counts as well.
        for _ in 0..10 {
            assert_eq!(register("203.0.113.7").await, StatusCode::CONFLICT);
        }
        server.advance(10);
        for n in 0..20 {
            let (status, ..) = login_from(&server, "203.0.113.7", &format!("nobody{n}@example.com"), WRONG).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
        }
        let (status, headers, _) = login_from(&server, "203.0.113.7", EMAIL, PASSWORD).await;
        assert_eq!((status, headers["retry-after"].to_str().unwrap()), (StatusCode::TOO_MANY_REQUESTS, "50"));
        assert_eq!(register("203.0.113.7").await, StatusCode::TOO_MANY_REQUESTS);
        // Everybody else signs in, and so does who waited.
        assert_eq!(login_from(&server, "203.0.113.8", EMAIL, PASSWORD).await.0, StatusCode::OK);
        server.advance(50);
        assert_eq!(login_from(&server, "203.0.113.7", EMAIL, PASSWORD).await.0, StatusCode::OK);
        // The span slides: ten are out of it, twenty are not.
        for n in 0..10 {
            login_from(&server, "203.0.113.7", &format!("somebody{n}@example.com"), WRONG).await;
        }
        assert_eq!(login_from(&server, "203.0.113.7", EMAIL, PASSWORD).await.0, StatusCode::TOO_MANY_REQUESTS);
    }
}

on_both! {
    async fn an_ipv6_network_counts_as_one_and_successes_not_at_all(database: Kind) {
        // S12
        let setup = Setup::new(database).await.set("SERVER__TRUSTED_PROXIES", "127.0.0.1");
        let server = setup.set("THROTTLE__ADDRESS_FAILURES_PER_MINUTE", "3").start().await;
        server.register().await;
        for _ in 0..5 {
            assert_eq!(login_from(&server, "2001:db8::1", EMAIL, PASSWORD).await.0, StatusCode::OK);
        }
        for n in 0..3 {
            let address = format!("2001:db8::{n}:{n}");
            assert_eq!(login_from(&server, &address, &format!("nobody{n}@example.com"), WRONG).await.0, StatusCode::UNAUTHORIZED);
        }
        assert_eq!(login_from(&server, "2001:db8::ffff", EMAIL, PASSWORD).await.0, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(login_from(&server, "2001:db8:0:1::1", EMAIL, PASSWORD).await.0, StatusCode::OK);
    }
}

on_both! {
    async fn whom_nobody_can_tell_apart_is_not_held_back_together(database: Kind) {
        // S12: a loopback peer that is no trusted proxy, and a proxy that does not say for whom it asks
        let setup = Setup::new(database).await.set("THROTTLE__ADDRESS_FAILURES_PER_MINUTE", "1");
        let server = setup.start().await;
        server.register().await;
        for n in 0..5 {
            expect_wrong(server.login(&format!("nobody{n}@example.com"), WRONG).await);
        }
        let setup = server.replica().set("SERVER__TRUSTED_PROXIES", "127.0.0.1");
        server.stop().await;
        let server = setup.set("THROTTLE__ADDRESS_FAILURES_PER_MINUTE", "1").start().await;
        for n in 0..5 {
            expect_wrong(server.login(&format!("nobody{n}@example.com"), WRONG).await);
        }
        server.login(EMAIL, PASSWORD).await.unwrap();
    }
}

on_both! {
    async fn of_an_address_guesses_at_many_accounts_at_once_are_bounded(database: Kind) {
        // S12
        let setup = Setup::new(database).await.set("SERVER__TRUSTED_PROXIES", "127.0.0.1");
        let server = setup.set("THROTTLE__ADDRESS_FAILURES_PER_MINUTE", "10").start().await;
        let emails: Vec<_> = (0..100).map(|n| format!("nobody{n}@example.com")).collect();
        join_all(emails.iter().map(|email| login_from(&server, "203.0.113.7", email, WRONG))).await;
        let evaluated = evaluated(&server).await;
        assert!((10..=13).contains(&evaluated), "{evaluated}");
    }
}

on_both! {
    async fn registrations_of_taken_addresses_at_once_are_bounded(database: Kind) {
        // S12
        let setup = Setup::new(database).await.set("SERVER__TRUSTED_PROXIES", "127.0.0.1");
        let server = setup.set("THROTTLE__ADDRESS_FAILURES_PER_MINUTE", "10").start().await;
        let access_token = server.register().await.access_token;
        let body = json!({ "email": EMAIL, "password": PASSWORD });
        let headers = [("x-forwarded-for", "203.0.113.7")];
        let register = || server.rest(Method::POST, "/api/v1/auth/register", &headers, Some(body.clone()));
        let answers = join_all((0..100).map(|_| register())).await;
        let told = answers.iter().filter(|(status, _)| *status == StatusCode::CONFLICT).count();
        assert!((10..=13).contains(&told), "{told}");
        // Nor is it told by asking for the address as one's own.
        let authorization = format!("Bearer {access_token}");
        let headers = [headers[0], ("authorization", authorization.as_str())];
        let body = json!({ "new_email": "new@example.com", "password": PASSWORD });
        let (status, _) = server.rest(Method::POST, "/api/v1/auth/change-email", &headers, Some(body)).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    }
}

on_both! {
    async fn what_a_client_writes_before_its_proxy_hides_nothing(database: Kind) {
        // S12; a value that is no text, and hops with ports
        let setup = Setup::new(database).await.set("SERVER__TRUSTED_PROXIES", "127.0.0.1");
        let server = setup.set("THROTTLE__ADDRESS_FAILURES_PER_MINUTE", "3").start().await;
        let forwarded: [&[u8]; 5] = [
            b"\xff, 203.0.113.7",
            b"\xff\xfe,203.0.113.7:4711",
            b"unknown, 203.0.113.7",
            b"203.0.113.8, [::ffff:203.0.113.7]:80",
            b"203.0.113.9,   203.0.113.7\t",
        ];
        let mut statuses = Vec::new();
        for (n, forwarded) in forwarded.into_iter().enumerate() {
            let body = json!({ "email": format!("nobody{n}@example.com"), "password": WRONG }).to_string();
            let request = Request::builder()
                .method(Method::POST)
                .uri(server.url("/api/v1/auth/login"))
                .header("content-type", "application/json")
                .header("x-forwarded-for", http::HeaderValue::from_bytes(forwarded).unwrap())
                .body(body.into())
                .unwrap();
            statuses.push(server.send(request).await.status().as_u16());
        }
        assert_eq!(statuses, [401, 401, 401, 429, 429]);
    }
}

on_both! {
    async fn who_registered_a_strangers_address_cannot_flood_it_with_notices(database: Kind) {
        // S13
        let server = Server::start(database).await;
        let access_token = server.register().await.access_token;
        let verify = server.mailed_token().await;
        let passwords = [PASSWORD, NEW].into_iter().cycle();
        for (current, new) in passwords.clone().zip(passwords.clone().skip(1)).take(6) {
            server.change_password(&access_token, current, new).await.unwrap();
        }
        assert_eq!(server.new_mails().await.len(), 3);
        // An address that is proven is told of each.
        server.verify_email(&verify).await.unwrap();
        for (current, new) in passwords.clone().zip(passwords.skip(1)).take(4) {
            server.change_password(&access_token, current, new).await.unwrap();
        }
        assert_eq!(server.new_mails().await.len(), 4);
    }
}

on_both! {
    async fn guesses_from_before_an_account_are_not_held_against_it(database: Kind) {
        // S9
        let server = Server::start(database).await;
        for _ in 0..5 {
            expect_wrong(server.login(EMAIL, WRONG).await);
        }
        expect_held(server.login(EMAIL, WRONG).await, 1);
        server.register().await;
        server.login(EMAIL, PASSWORD).await.unwrap();
    }
}

on_both! {
    async fn three_mails_an_hour_of_a_kind_and_none_is_voided_by_a_fourth(database: Kind) {
        // S13
        let server = Server::start(database).await;
        let access_token = server.register().await.access_token;
        server.new_mail().await;
        for _ in 0..3 {
            server.forgot_password("USER@example.com").await.unwrap();
            server.advance(60);
        }
        let mails = server.new_mails().await;
        assert_eq!(mails.len(), 3);
        server.forgot_password(EMAIL).await.unwrap();
        assert!(server.new_mails().await.is_empty());
        // Registering mailed one of the other kind.
        for _ in 0..5 {
            server.resend_verification(EMAIL).await.unwrap();
        }
        assert_eq!(server.new_mails().await.len(), 2);

        // The newest that was sent still works.
        let mut refused = 0;
        for mail in mails {
            match server.reset_password(&mail.token(), NEW).await {
                Ok(()) => {}
                Err(status) => {
                    assert_eq!(reason(&status), "ONE_TIME_TOKEN_INVALID");
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 2);
        // A notice is not counted.
        assert_eq!(server.new_mails().await.len(), 1);
        assert_eq!(server.status_of(&access_token).await, S::Revoked);

        // An hour after the first, there is room for one.
        server.advance(3600 - 180);
        for _ in 0..2 {
            server.forgot_password(EMAIL).await.unwrap();
        }
        assert_eq!(server.new_mails().await.len(), 1);
    }
}

on_both! {
    async fn a_stranger_cannot_use_up_the_mail_of_a_registration(database: Kind) {
        // S13
        let server = Server::start(database).await;
        for _ in 0..5 {
            server.resend_verification(EMAIL).await.unwrap();
        }
        server.register().await;
        assert_eq!(server.new_mails().await.len(), 1);
    }
}

on_both! {
    async fn of_many_who_ask_for_mail_at_once_three_are_heard(database: Kind) {
        // S13
        let server = Server::start(database).await;
        server.register().await;
        server.new_mail().await;
        for answer in join_all((0..20).map(|_| server.forgot_password(EMAIL))).await {
            answer.unwrap();
        }
        assert_eq!(server.new_mails().await.len(), 3);
        let access_token = server.login(EMAIL, PASSWORD).await.unwrap().access_token;
        for _ in 0..5 {
            server.request_email_change(&access_token, "new@example.com", Some(PASSWORD)).await.unwrap();
        }
        let mails = server.new_mails().await;
        assert_eq!(mails.iter().filter(|mail| mail.to == "new@example.com").count(), 3);
    }
}
