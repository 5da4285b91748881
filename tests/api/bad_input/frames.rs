//! What a gRPC call is wrapped in: frames, base64, headers, content types and names.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::json;
use tonic::Code;

use super::{Besieged, LOGIN, LOGIN_REST, login};
use crate::{
    common::Kind,
    support::EMAIL,
    wire::{CANARY, DOORS, Door, GRPC_DOORS, frame},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_frame_is_an_invalid_field() {
    let besieged = Besieged::start(Kind::Sqlite).await;
    let message = login();
    let flagged = |flag: u8| [&[flag][..], &frame(&message)[1..]].concat();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", vec![], "INVALID_FIELD"),
        ("half a header", vec![0, 0], "INVALID_FIELD"),
        ("a header alone", vec![0, 0, 0, 0, 9], "INVALID_FIELD"),
        ("a message cut short", frame(&message)[..message.len()].to_vec(), "INVALID_FIELD"),
        ("compressed, though nothing was agreed", flagged(1), "INVALID_FIELD"),
        ("an unknown flag", flagged(7), "INVALID_FIELD"),
        ("all bits of the flag", flagged(0xff), "INVALID_FIELD"),
        ("a length of 2 GiB", [&[0, 0x7f, 0xff, 0xff, 0xff][..], &message].concat(), "TOO_LARGE"),
        ("a length of 4 GiB", [&[0, 0xff, 0xff, 0xff, 0xff][..], &message].concat(), "TOO_LARGE"),
        ("64 KiB and a byte", frame(&vec![b'x'; 64 * 1024 + 1]), "TOO_LARGE"),
        ("1 MiB", frame(&vec![b'x'; 1024 * 1024]), "TOO_LARGE"),
        ("no protobuf", frame(&[0xff; 40]), "INVALID_FIELD"),
        ("a string of another wire type", frame(&[0x08, 1]), "INVALID_FIELD"),
        ("a string longer than the message", frame(&[0x0a, 100, b'x']), "INVALID_FIELD"),
        ("a string that is not UTF-8", frame(&[0x0a, 2, 0xc3, 0x28]), "INVALID_FIELD"),
        ("a surrogate in UTF-8", frame(&[0x0a, 3, 0xed, 0xa0, 0x80]), "INVALID_FIELD"),
        ("a field of number 0", frame(&[0x02, 1, b'x']), "INVALID_FIELD"),
        ("a group without an end", frame(&[0x1b]), "INVALID_FIELD"),
        ("a message and half a header", [&frame(&message)[..], &[0, 0]].concat(), "INVALID_FIELD"),
        ("groups in groups", frame(&vec![0x1b; 60_000]), "INVALID_FIELD"),
        (
            "a varint without an end",
            frame(&[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            "INVALID_FIELD",
        ),
    ];
    for door in GRPC_DOORS {
        for (what, frames, reason) in &cases {
            let answer = besieged.server.frames(door, LOGIN, &[], frames.clone()).await;
            answer.expect(reason, &format!("{door:?}: {what}"));
        }
    }
    besieged.assert_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unary_call_of_two_messages_is_refused() {
    let besieged = Besieged::start(Kind::Sqlite).await;
    for door in GRPC_DOORS {
        let twice = [frame(&login()), frame(&login())].concat();
        let answer = besieged.server.frames(door, LOGIN, &[], twice).await;
        answer.expect("INVALID_FIELD", &format!("{door:?}"));
    }
    besieged.assert_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_base64_is_an_invalid_field() {
    let besieged = Besieged::start(Kind::Sqlite).await;
    let whole = STANDARD.encode(frame(&login()));
    for body in ["!!!!", "AAA", "A", "=", "AAAA====", "\u{0}", "AAAAAA-_", &whole[..whole.len() - 3], "\r\n"]
    {
        let answer = besieged.server.exchange(Door::WebText, Method::POST, LOGIN, &[], body.to_owned()).await;
        answer.expect("INVALID_FIELD", body);
    }
    besieged.assert_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_rpc_is_unimplemented() {
    let besieged = Besieged::start(Kind::Sqlite).await;
    for door in GRPC_DOORS {
        for path in [
            "/countersign.v1.AuthService/NoSuch",
            "/countersign.v1.AuthService/login",
            "/countersign.v1.NoSuch/Login",
            "/countersign.v2.AuthService/Login",
            "/grpc.health.v1.Health/NoSuch",
        ] {
            let answer = besieged.server.frames(door, path, &[], frame(&login())).await;
            let failure = answer.failure();
            assert_eq!(
                (failure.code, failure.reason.as_str()),
                (Some(Code::Unimplemented), "NOT_FOUND"),
                "{door:?} {path}"
            );
        }
    }
    besieged.assert_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_grpc_header_asks_for_must_make_sense() {
    let besieged = Besieged::start(Kind::Sqlite).await;
    for door in GRPC_DOORS {
        for encoding in ["gzip", "br", "zstd", "nonsense"] {
            let answer = besieged
                .server
                .frames(
                    door,
                    LOGIN,
                    &[("grpc-encoding", encoding)],
                    [&[1][..], &frame(&login())[1..]].concat(),
                )
                .await;
            let failure = answer.failure();
            // UNIMPLEMENTED is the protocol's own rule for an encoding that is not supported.
            assert_eq!(
                (failure.code, failure.reason.as_str()),
                (Some(Code::Unimplemented), "UNSUPPORTED_MEDIA_TYPE"),
                "{door:?} {encoding}"
            );
        }
    }
    let empty =
        besieged.server.exchange(Door::Web, Method::POST, LOGIN, &[("grpc-timeout", " ")], frame(&login()));
    empty.await.expect("INVALID_FIELD", "a blank timeout");
    for door in DOORS {
        for timeout in ["soon", "1", "S", "-1S", "1.5S", "123456789S", "1s", "1 S", "0x1S", "１S", "1SS"] {
            let message = json!({"email": EMAIL, "password": CANARY});
            let answer = besieged.server.call(door, "Login", &[("grpc-timeout", timeout)], &message).await;
            answer.expect("INVALID_FIELD", &format!("{door:?} {timeout}"));
        }
    }
    besieged.assert_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_content_types_are_read() {
    // S52
    let besieged = Besieged::start(Kind::Sqlite).await;
    let others = [
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "text/json",
        "application/octet-stream",
        "application/grpcx",
        "application/grpc+json",
        "application/proto",
        "*/*",
        "application",
        "\u{e9}",
        "",
    ];
    let body = json!({"email": EMAIL, "password": CANARY}).to_string();
    for content_type in others {
        let headers = [("content-type", content_type)];
        let rest =
            besieged.server.exchange(Door::Rest, Method::POST, LOGIN_REST, &headers, body.clone()).await;
        rest.expect("UNSUPPORTED_MEDIA_TYPE", content_type);
        for door in GRPC_DOORS {
            let answer = besieged
                .server
                .exchange(door, Method::POST, LOGIN, &headers, door.wrap(frame(&login())))
                .await;
            assert_eq!(answer.http, 415, "{door:?} {content_type}");
            answer.expect("UNSUPPORTED_MEDIA_TYPE", content_type);
        }
    }
    for (path, content_type) in [
        (LOGIN, "application/json"),
        // Without trailers there is no gRPC.
        (LOGIN, "application/grpc"),
        (LOGIN_REST, "application/grpc"),
        (LOGIN_REST, "application/grpc-web+proto"),
    ] {
        let headers = [("content-type", content_type)];
        let answer = besieged.server.exchange(Door::Rest, Method::POST, path, &headers, body.clone()).await;
        answer.expect("UNSUPPORTED_MEDIA_TYPE", &format!("{path} {content_type}"));
    }
    besieged.assert_well().await;
}
