//! At the lowest level the log holds as little of what was entrusted to the service as at any other.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use countersign::api::pb::{
    self, auth_service_client::AuthServiceClient, key_service_client::KeyServiceClient,
};
use serde_json::json;
use tonic::{Request, transport::Channel};

use super::{LOGIN, MASTER_KEY, Place, REGISTER, Service};
use crate::{
    common::{Database, Kind},
    on_both,
};

/// What an operator may ask for: everything, also by naming the module that writes the parameters of queries.
const LEVELS: [&str; 2] = ["trace", "trace,tokio_postgres::query=trace"];
const NAME: &str = "c4n4ryOfTheName";
const WORD: &str = "c4n4ryOfThePassword";
const NEW_WORD: &str = "c4n4ryOfTheNewPassword";
const AGENT: &str = "c4n4ryOfTheAgent";
const KEY_NAME: &str = "c4n4ryOfTheKey";
const WRONG: &str = "c4n4ryThatIsWrong";
const MAILBOXES: [&str; 2] = ["c4n4ryofagrpcmailbox", "c4n4ryofarestmailbox"];
const NEW_MAILBOX: &str = "c4n4ryofanewmailbox";

fn bearer<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn email(mailbox: &str) -> String {
    format!("{mailbox}@example.com")
}

/// Puts a canary into every field by gRPC, and returns the secrets that were answered.
async fn by_grpc(service: &Service) -> Vec<String> {
    let channel =
        Channel::from_shared(format!("http://{}", service.address)).unwrap().user_agent(AGENT).unwrap();
    let channel = channel.connect().await.unwrap();
    let (mut auth, mut keys) = (AuthServiceClient::new(channel.clone()), KeyServiceClient::new(channel));

    let register = |email: String, password: &str| pb::RegisterRequest {
        email,
        password: password.to_owned(),
        name: NAME.to_owned(),
    };
    let login =
        |password: &str| pb::LoginRequest { email: email(MAILBOXES[0]), password: password.to_owned() };
    let first = auth.register(register(email(MAILBOXES[0]), WORD)).await.unwrap().into_inner();
    let refresh = |token: &str| pb::RefreshRequest { refresh_token: token.to_owned() };
    let second = auth.refresh(refresh(&first.refresh_token)).await.unwrap().into_inner();
    let third = auth.login(login(WORD)).await.unwrap().into_inner();
    let token = third.access_token.clone();
    let update = pb::UpdateMeRequest { name: Some(NAME.to_owned()), update_mask: None };
    auth.update_me(bearer(&token, update)).await.unwrap();
    auth.list_sessions(bearer(&token, pb::ListSessionsRequest::default())).await.unwrap();
    auth.list_my_events(bearer(&token, pb::ListMyEventsRequest::default())).await.unwrap();
    let change_email = |new_email: String, password: &str| pb::RequestEmailChangeRequest {
        new_email,
        password: Some(password.to_owned()),
    };
    auth.request_email_change(bearer(&token, change_email(email(NEW_MAILBOX), WORD))).await.unwrap();
    for mailbox in [MAILBOXES[0], NEW_MAILBOX] {
        auth.resend_verification(pb::ResendVerificationRequest { email: email(mailbox) }).await.unwrap();
        auth.forgot_password(pb::ForgotPasswordRequest { email: email(mailbox) }).await.unwrap();
    }

    let create = pb::CreateKeyRequest { name: KEY_NAME.to_owned(), ..Default::default() };
    let made = keys.create_key(bearer(&token, create)).await.unwrap().into_inner();
    let key_id = made.key.unwrap().id;
    let update = pb::UpdateKeyRequest {
        key_id: key_id.clone(),
        name: Some(KEY_NAME.to_owned()),
        ..Default::default()
    };
    keys.update_key(bearer(&token, update)).await.unwrap();
    let rotate = pb::RotateKeyRequest { key_id, grace_period: None };
    let rotated = keys.rotate_key(bearer(&token, rotate)).await.unwrap().into_inner().secret;
    for credential in [&token, &made.secret, &rotated] {
        let credential = credential.clone();
        let validate = pb::ValidateCredentialRequest { credential, required_scopes: Vec::new() };
        auth.validate_credential(validate.clone()).await.unwrap();
        let batch = pb::BatchValidateCredentialsRequest { requests: vec![validate] };
        auth.batch_validate_credentials(batch).await.unwrap();
    }

    // And in what is refused.
    auth.register(register(email(MAILBOXES[0]), WORD)).await.unwrap_err();
    auth.register(register(WRONG.to_owned(), WRONG)).await.unwrap_err();
    auth.login(login(WRONG)).await.unwrap_err();
    auth.refresh(refresh(WRONG)).await.unwrap_err();
    auth.get_me(bearer(WRONG, pb::GetMeRequest {})).await.unwrap_err();
    let wrong = || WRONG.to_owned();
    auth.verify_email(pb::VerifyEmailRequest { token: wrong() }).await.unwrap_err();
    auth.confirm_email_change(pb::ConfirmEmailChangeRequest { token: wrong() }).await.unwrap_err();
    let reset = pb::ResetPasswordRequest { token: wrong(), new_password: wrong() };
    auth.reset_password(reset).await.unwrap_err();
    auth.forgot_password(pb::ForgotPasswordRequest { email: wrong() }).await.unwrap_err();
    auth.resend_verification(pb::ResendVerificationRequest { email: wrong() }).await.unwrap_err();
    auth.request_email_change(bearer(&token, change_email(wrong(), WRONG))).await.unwrap_err();
    auth.request_email_change(bearer(&token, change_email(email("other"), WRONG))).await.unwrap_err();

    let change = |current: &str, new: &str| pb::ChangePasswordRequest {
        current_password: current.to_owned(),
        new_password: new.to_owned(),
    };
    auth.change_password(bearer(&token, change(WRONG, NEW_WORD))).await.unwrap_err();
    auth.change_password(bearer(&token, change(WORD, NEW_WORD))).await.unwrap();
    let delete = pb::DeleteMeRequest { password: Some(WRONG.to_owned()) };
    auth.delete_me(bearer(&token, delete)).await.unwrap_err();
    let [first, second, third] =
        [first, second, third].map(|tokens| [tokens.access_token, tokens.refresh_token]);
    [&first[..], &second, &third, &[made.secret, rotated]].concat()
}

/// The same by REST, in brief: beneath the door it goes the same way.
fn by_rest(service: &Service) -> Vec<String> {
    let agent = format!("user-agent: {AGENT}\r\n");
    let account = json!({"email": email(MAILBOXES[1]), "password": WORD, "name": NAME});
    let (status, tokens) = service.post_with(REGISTER, &account, &agent);
    assert_eq!(status, 200, "{tokens}");
    let text = |field: &str| tokens[field].as_str().unwrap().to_owned();
    let login = json!({"email": email(MAILBOXES[1]), "password": WRONG});
    assert_eq!(service.post_with(LOGIN, &login, &agent).0, 401);
    let bearer = format!("{agent}authorization: Bearer {}\r\n", text("access_token"));
    let (status, made) = service.post_with("/api/v1/keys", &json!({"name": KEY_NAME}), &bearer);
    assert_eq!(status, 200, "{made}");
    let secret = made["secret"].as_str().unwrap().to_owned();
    let with_key = format!("{agent}x-api-key: {secret}\r\n");
    service.post_with("/api/v1/keys", &json!({"name": KEY_NAME}), &with_key);
    for body in [json!(WRONG), json!({"email": [WRONG]}), json!({WRONG: WRONG})] {
        assert_eq!(service.post_with(LOGIN, &body, &agent).0, 400);
    }
    vec![text("access_token"), text("refresh_token"), secret]
}

/// How bytes may be written: as they are, as a list of numbers, in hexadecimal, and in base64 wherever in the encoded text
/// they begin. A log is searched for them without its white space.
fn spellings(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let list: Vec<_> = bytes.iter().map(u8::to_string).collect();
    let hex = |byte: &u8| format!("{byte:02x}");
    let mut all = vec![
        secret.to_owned(),
        list.join(","),
        bytes.iter().map(hex).collect(),
        bytes.iter().map(|byte| hex(byte).to_uppercase()).collect(),
    ];
    for before in 0..3 {
        let encoded = STANDARD_NO_PAD.encode([&vec![0; before][..], bytes].concat());
        // Without the characters that also depend on what stands before and after.
        let (start, end) = ((before * 8).div_ceil(6), (before + bytes.len()) * 8 / 6);
        let inner = &encoded[start..end];
        all.extend([inner.to_owned(), inner.replace('+', "-").replace('/', "_")]);
    }
    all
}

async fn search(database: &Database, level: &str) {
    let service = Place::on(database).set("COUNTERSIGN_TELEMETRY__LOG_LEVEL", level).serve();
    let mut secrets = by_grpc(&service).await;
    secrets.extend(by_rest(&service));
    let hashes = database.query_text("SELECT password_hash FROM users").await;
    assert_eq!(hashes.len(), 2);
    // The salt and the hash alone would be enough.
    secrets.extend(hashes.iter().flat_map(|hash| hash.rsplit('$').take(2)).map(str::to_owned));
    secrets.extend([MASTER_KEY, NAME, WORD, NEW_WORD, AGENT, KEY_NAME, WRONG].map(str::to_owned));
    secrets.extend(MAILBOXES.map(str::to_owned));
    secrets.push(NEW_MAILBOX.to_owned());

    service.terminate();
    let log: Vec<_> = service.lines.iter().collect();
    for expected in ["\"DEBUG\"", "sign_in succeeded"] {
        assert!(log.iter().any(|line| line.contains(expected)), "no {expected} in {log:#?}");
    }
    let log = log.iter().map(|line| line.split_whitespace().collect::<String>()).collect::<Vec<_>>();
    for secret in secrets {
        for spelling in spellings(&secret) {
            let line = log.iter().find(|line| line.contains(&spelling));
            assert!(line.is_none(), "{secret} is written {spelling} in {line:?}");
        }
    }
}

on_both! {
    async fn a_log_of_everything_holds_nothing_that_was_entrusted(database: Kind) {
        // S57
        for level in LEVELS {
            search(&Database::create(database).await, level).await;
        }
    }
}
