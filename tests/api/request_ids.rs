//! `x-request-id`: the caller's, where it can be written anywhere without a second thought, else one of ours.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    common::Kind,
    log::Log,
    support::{EMAIL, Server},
    wire::DOORS,
};

/// Calls that take different ways: `ValidateCredential` over gRPC goes around the router.
const CALLS: [&str; 2] = ["ValidateCredential", "ForgotPassword"];

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_cannot_be_written_is_replaced_and_not_written() {
    // S57
    let log = Log::start();
    let server = Server::start(Kind::Sqlite).await;
    let too_long = format!("c4n4ry{}", "x".repeat(123));
    let bad = ["c4n4ry two words", "c4n4ry\ttab", "c4n4ry-ü", "c4n4ry-\u{9b}31m", &too_long];
    for door in DOORS {
        for call in CALLS {
            let message = if call == CALLS[0] { json!({"credential": "x"}) } else { json!({"email": EMAIL}) };
            for given in bad {
                let answer = server.call(door, call, &[("x-request-id", given)], &message).await;
                let id = answer.headers["x-request-id"].to_str().unwrap();
                assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{door:?} {call}: {id}");
                assert!(log.text().contains(&format!("request_id={id:?}")), "{door:?} {call}");
                answer.result.unwrap();
            }
            let good = format!("good-{door:?}-{call}-{}", "x".repeat(80));
            let answer = server.call(door, call, &[("x-request-id", &good)], &message).await;
            assert_eq!(answer.headers["x-request-id"], good.as_str());
            assert!(log.text().contains(&format!("request_id={good:?}")), "{door:?} {call}");
        }
    }
    // Control characters do not get as far as that.
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-request-id: c4n4ry\x1b[31m\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && !answer.contains("c4n4ry"), "{answer}");
    let text = log.text();
    let written: Vec<_> = text.lines().filter(|line| line.contains("c4n4ry")).collect();
    assert!(written.iter().all(|line| !line.contains(" countersign::")), "{written:#?}");
}
