//! The table against the contract, and problems through both doors.

use http_body_util::BodyExt;

use super::*;

/// As the contract has it.
const CONTRACT: [(&str, Code, u16); 14] = [
    (
        "MISSING_CREDENTIAL INVALID_CREDENTIAL CREDENTIAL_EXPIRED CREDENTIAL_REVOKED \
         WRONG_EMAIL_OR_PASSWORD REFRESH_TOKEN_INVALID REFRESH_TOKEN_REUSED",
        Code::Unauthenticated,
        401,
    ),
    (
        "INSUFFICIENT_SCOPE ACCOUNT_DISABLED EMAIL_NOT_VERIFIED SESSION_REQUIRED SECOND_FACTOR_REQUIRED \
         REGISTRATION_CLOSED",
        Code::PermissionDenied,
        403,
    ),
    ("EMAIL_ALREADY_REGISTERED IDENTITY_ALREADY_LINKED", Code::AlreadyExists, 409),
    ("LAST_WAY_IN", Code::FailedPrecondition, 409),
    (
        "INVALID_FIELD ONE_TIME_TOKEN_INVALID OAUTH_CODE_REFUSED OAUTH_STATE_INVALID UNKNOWN_PROVIDER \
         REDIRECT_URI_NOT_ALLOWED PASSWORD_TOO_COMMON",
        Code::InvalidArgument,
        400,
    ),
    ("NOT_FOUND", Code::NotFound, 404),
    ("METHOD_NOT_ALLOWED", Code::InvalidArgument, 405),
    ("UNSUPPORTED_MEDIA_TYPE", Code::InvalidArgument, 415),
    ("TOO_LARGE", Code::ResourceExhausted, 413),
    ("TOO_MANY_ATTEMPTS OVERLOADED LIMIT_REACHED", Code::ResourceExhausted, 429),
    ("PROVIDER_UNAVAILABLE STORAGE_UNAVAILABLE", Code::Unavailable, 503),
    ("DEADLINE_EXCEEDED", Code::DeadlineExceeded, 504),
    ("INTERNAL", Code::Internal, 500),
    ("UNSPECIFIED", Code::Internal, 500),
];

#[test]
fn every_reason_answers_as_the_contract_says() {
    // S63
    let mut seen = Vec::new();
    for (names, code, http) in CONTRACT {
        for name in names.split_whitespace() {
            let reason = Reason::from_str_name(&format!("ERROR_REASON_{name}")).unwrap();
            assert_eq!(wire_name(reason), name);
            assert_eq!(Status::from(Problem::from(reason)).code(), code, "{name}");
            let response = Problem::from(reason).into_response();
            assert_eq!(response.status(), http, "{name}");
            assert_eq!(response.headers().contains_key(WWW_AUTHENTICATE), http == 401, "{name}");
            seen.push(reason as i32);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..35).collect::<Vec<_>>());
    assert!(Reason::try_from(35).is_err(), "a new reason needs a row in CONTRACT");
}

#[test]
fn a_problem_survives_the_way_through_a_status() {
    let problem = Problem {
        retry_after: Some(Duration::from_millis(1500)),
        ..Problem::invalid(vec![Violation {
            field: "requests[2].credential".into(),
            description: "ä".into(),
        }])
    };
    let headers = problem.clone().into_grpc_response().into_parts().0.headers;
    assert_eq!(headers["content-type"], "application/grpc");
    let status = Status::from_header_map(&headers).unwrap();
    assert_eq!(Problem::from_status(&status), problem);
    assert_eq!(Problem::canonical(status).message(), problem.detail);
}

#[tokio::test]
async fn a_problem_is_written_as_rfc_9457_says() {
    let problem = Problem {
        retry_after: Some(Duration::from_millis(1500)),
        ..Problem::new(Reason::Overloaded, "try again soon")
    };
    let response = problem.into_response();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["retry-after"], "2");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
        json!({"type": "urn:countersign:error:OVERLOADED", "title": "The server is busy", "status": 429,
               "detail": "try again soon", "reason": "OVERLOADED", "retry_after": 1.5})
    );
    let refused = Problem::from(Reason::CredentialExpired).into_response();
    assert_eq!(refused.headers()["www-authenticate"], "Bearer error=\"invalid_token\"");
}

#[test]
fn tonics_own_texts_are_replaced() {
    // S64
    let cases = [
        (Status::out_of_range("decoded message length too large: found 70000"), Reason::TooLarge),
        (Status::unknown("length limit exceeded"), Reason::TooLarge),
        (Status::resource_exhausted("Error decompressing: size limit"), Reason::TooLarge),
        (Status::resource_exhausted("Too many active requests"), Reason::Overloaded),
        (Status::unimplemented(""), Reason::NotFound),
        (Status::unimplemented("Content is compressed with `br`"), Reason::UnsupportedMediaType),
        (Status::invalid_argument("failed to decode Protobuf message"), Reason::InvalidField),
        (Status::internal("Missing request message."), Reason::InvalidField),
        (Status::internal("tonic-web: malformed base64 request"), Reason::InvalidField),
        (Status::internal("Missing response message."), Reason::Internal),
        (Status::cancelled("Timeout expired"), Reason::DeadlineExceeded),
        (Status::unknown("hyper"), Reason::Internal),
    ];
    for (status, reason) in cases {
        assert_eq!(Problem::from_status(&status), Problem::from(reason), "{status}");
        let code = status.code();
        let canonical = Problem::canonical(status);
        assert_eq!(canonical.message(), title(reason));
        assert_eq!(canonical.code() == Code::Unimplemented, code == Code::Unimplemented);
    }
}

#[tokio::test]
async fn a_malformed_frame_is_the_callers_fault() {
    type Codec = crate::api::codec::Codec<(), ()>;
    let frames: [(&[u8], Reason); 6] = [
        (b"", Reason::InvalidField),
        (b"\x00\x00", Reason::InvalidField),
        (b"\x00\x00\x00\x00\x09x", Reason::InvalidField),
        (b"\x01\x00\x00\x00\x01x", Reason::InvalidField),
        (b"\x07\x00\x00\x00\x01x", Reason::InvalidField),
        (b"\x00\x7f\x00\x00\x00x", Reason::TooLarge),
    ];
    for (frame, reason) in frames {
        let answer = tower::service_fn(async |_: tonic::Request<()>| Ok(tonic::Response::new(())));
        let request = axum::http::Request::new(Body::from(frame));
        let response = tonic::server::Grpc::new(Codec::default()).unary(answer, request).await;
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(Problem::from_status(&status).reason, reason, "{frame:?}: {status}");
    }
}
