//! More sign-ins than the machine can hash: who is served, who is told to come back, and what does not feel it (S61).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use countersign::{
    api::pb,
    domain::{Client, Domain, Error, Issued, Result},
    types::{Email, Password},
};
use futures_util::future::join_all;
use http::{Method, Request, Response, request::Builder};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    common::Kind,
    on_both,
    support::{EMAIL, PASSWORD, Server, Setup, account, reason},
};

/// One thread, on which a hash takes dozens of times as long as whatever else a sign-in does.
fn slow(setup: Setup, max_queue: &str) -> Setup {
    let setup = setup.set("PASSWORDS__MAX_CONCURRENT", "1").set("PASSWORDS__MAX_QUEUE", max_queue);
    setup.set("PASSWORDS__ITERATIONS", "10")
}

/// How a sign-in that may be refused ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    SignedIn,
    /// The reason, and after how many seconds it may be tried again.
    Refused(String, u64),
}

async fn sign_in_by_grpc(server: &Server, email: &str) -> Outcome {
    match server.login(email, PASSWORD).await {
        Ok(_) => Outcome::SignedIn,
        Err(status) => refusal_by_grpc(&status),
    }
}

fn refusal_by_grpc(status: &Status) -> Outcome {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let delay = status.get_details_retry_info().and_then(|info| info.retry_delay).expect("a delay");
    assert_eq!(delay.subsec_nanos(), 0, "whole seconds");
    Outcome::Refused(reason(status), delay.as_secs())
}

async fn sign_in_by_rest(server: &Server, email: &str) -> Outcome {
    let answer = server.send(rest(server).body(credentials(email)).unwrap()).await;
    if answer.status() == 200 { Outcome::SignedIn } else { refusal(&answer) }
}

fn rest(server: &Server) -> Builder {
    let request = Request::builder().method(Method::POST).uri(server.url("/api/v1/auth/login"));
    request.header("content-type", "application/json")
}

fn credentials(email: &str) -> Full<Bytes> {
    json!({ "email": email, "password": PASSWORD }).to_string().into()
}

fn refusal(answer: &Response<Bytes>) -> Outcome {
    assert_eq!(answer.status(), 429, "{answer:?}");
    let problem: Value = serde_json::from_slice(answer.body()).unwrap();
    let seconds: u32 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert_eq!(problem["retry_after"].as_f64(), Some(f64::from(seconds)), "the same in both places");
    Outcome::Refused(problem["reason"].as_str().unwrap().to_owned(), seconds.into())
}

on_both! {
    async fn of_too_many_sign_ins_some_are_served_and_the_rest_told_to_come_back(database: Kind) {
        // S61
        let fast = Server::start(database).await;
        let emails: Vec<_> = (0..8).map(|n| format!("user{n}@example.com")).collect();
        for email in &emails {
            fast.register_as(email).await;
        }
        let setup = slow(fast.replica(), "1");
        fast.stop().await;
        let server = setup.start().await;
        let token = server.register().await.access_token;
        let slow = format!("(SELECT password_hash FROM users WHERE email = '{EMAIL}')");
        server.database.execute(&format!("UPDATE users SET password_hash = {slow}")).await;
        let sign_ins = join_all(emails.iter().enumerate().map(async |(n, email)| {
            if n % 2 == 0 { sign_in_by_grpc(&server, email).await } else { sign_in_by_rest(&server, email).await }
        }));
        let mut validations = 0;
        let validate = async {
            loop {
                assert_eq!(server.status_of(&token).await, pb::CredentialStatus::Valid);
                validations += 1;
            }
        };
        let outcomes = tokio::select! {
            biased;
            () = validate => Vec::new(),
            outcomes = sign_ins => outcomes,
        };
        // Each has had an answer, and none but these.
        let signed_in = outcomes.iter().filter(|outcome| **outcome == Outcome::SignedIn).count();
        let refused = |outcome: &&Outcome| matches!(outcome, Outcome::Refused(reason, 1..) if reason == "OVERLOADED");
        assert_eq!(signed_in + outcomes.iter().filter(refused).count(), 8, "{outcomes:?}");
        assert!((1..8).contains(&signed_in), "{outcomes:?}");
        assert!(validations > 0);
        // And when it is over, it is over.
        for email in &emails[..2] {
            server.login(email, PASSWORD).await.unwrap();
        }
    }
}

on_both! {
    async fn who_cannot_wait_long_enough_is_refused_at_once_and_who_can_is_served(database: Kind) {
        // S61
        let server = slow(Setup::new(database).await, "100").start().await;
        for name in ["first", "second"] {
            server.register_as(&format!("{name}@example.com")).await;
        }
        server.register().await;
        let patient = join_all(["first", "second"].map(async |name| {
            server.login(&format!("{name}@example.com"), PASSWORD).await
        }));
        let hurried = async { (refused_by_grpc(&server).await, refused_by_rest(&server).await) };
        let (answers, refused) = tokio::join!(patient, hurried);
        for refusal in [refused.0, refused.1] {
            assert!(matches!(&refusal, Outcome::Refused(reason, 1..) if reason == "OVERLOADED"), "{refusal:?}");
        }
        for answer in answers {
            answer.unwrap();
        }
    }
}

/// How calls that end before a hash can be made are refused. While the others have not come yet, or the machine is slow, one
/// is begun, and ends without an answer.
async fn refused_by_grpc(server: &Server) -> Outcome {
    for _ in 0..1000 {
        let message = pb::LoginRequest { email: EMAIL.to_owned(), password: PASSWORD.to_owned() };
        let mut request = tonic::Request::new(message);
        request.set_timeout(Duration::from_millis(15));
        let status = server.auth().login(request).await.expect_err("a hash takes longer");
        if !matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) {
            return refusal_by_grpc(&status);
        }
    }
    panic!("never refused");
}

/// The same over REST, whose inner call knows the outer one's deadline.
async fn refused_by_rest(server: &Server) -> Outcome {
    for _ in 0..1000 {
        let request = rest(server).header("grpc-timeout", "15m").body(credentials(EMAIL)).unwrap();
        let answer = server.send(request).await;
        if answer.status() != 504 {
            return refusal(&answer);
        }
    }
    panic!("never refused");
}

/// Use cases whose only hashing thread is busy with somebody's sign-in, and that sign-in.
async fn busy(setup: &Setup) -> (Arc<Domain>, JoinHandle<Result<Issued>>) {
    let domain = setup.domain().await;
    // So it is known how long a hash takes.
    domain.create_user(account(EMAIL)).await.unwrap();
    let sign_in = guess(&domain, "busy", None);
    begun(&domain, 1).await;
    (domain, sign_in)
}

/// Tries a password on an account that does not exist, which costs what it does on one that does (S15), and counts.
fn guess(domain: &Arc<Domain>, name: &str, deadline: Option<Instant>) -> JoinHandle<Result<Issued>> {
    let (domain, email) = (domain.clone(), Email::parse(&format!("{name}@example.com")).unwrap());
    let mut client = Client::default();
    client.deadline = deadline;
    tokio::spawn(async move { domain.login(&email, Password::parse(PASSWORD).unwrap(), &client).await })
}

/// Waits until so many guesses have come as far as the queue.
async fn begun(domain: &Domain, guesses: u64) {
    while domain.dummy_hashes() < guesses {
        tokio::task::yield_now().await;
    }
}

async fn counted_failures(setup: &Setup) -> usize {
    setup.database().query_text("SELECT CAST(failures AS text) FROM password_failures").await.len()
}

fn is_wrong(answer: &Result<Issued>) -> bool {
    matches!(answer, Err(Error::WrongEmailOrPassword))
}

on_both! {
    async fn a_guess_that_is_refused_for_its_deadline_was_not_made(database: Kind) {
        // S10, S61
        let setup = slow(Setup::new(database).await, "100");
        let (domain, busy) = busy(&setup).await;
        let deadline = Instant::now() + Duration::from_millis(15);
        let hurried = guess(&domain, "hurried", Some(deadline)).await.unwrap();
        assert!(matches!(hurried, Err(Error::Overloaded { .. })), "{hurried:?}");
        assert!(is_wrong(&busy.await.unwrap()));
        assert_eq!(counted_failures(&setup).await, 1);
    }
}

on_both! {
    async fn guesses_that_are_given_up_in_the_queue_take_no_time_and_are_not_counted(database: Kind) {
        // S10, S61
        let setup = slow(Setup::new(database).await, "100");
        let (domain, busy) = busy(&setup).await;
        // Four come as far as the queue, the others wait for their turn.
        let given_up: Vec<_> = (0..6).map(|_| guess(&domain, "gone", None)).collect();
        begun(&domain, 5).await;
        for guess in given_up {
            guess.abort();
            assert!(guess.await.unwrap_err().is_cancelled());
        }
        let last = guess(&domain, "last", None);
        assert!(is_wrong(&busy.await.unwrap()));
        // Whoever came before it had its turn.
        assert!(is_wrong(&last.await.unwrap()));
        assert_eq!(counted_failures(&setup).await, 2);
    }
}
