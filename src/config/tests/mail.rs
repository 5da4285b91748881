//! `mail.*`: what goes with what, where links may lead, and that the server's password stays hidden.

use super::*;

const URL: &str = "smtp://user:c4n4ry@mail.example.com:587?tls=required";
const FROM: &str = "Example <noreply@example.com>";

fn smtp() -> Setup {
    with("COUNTERSIGN_MAIL__TRANSPORT", "smtp")
}

#[test]
fn the_log_transport_is_refused_where_other_machines_can_call() {
    // S57
    for listen in
        ["0.0.0.0:50051", "[::]:50051", "192.0.2.1:50051", "[2001:db8::1]:50051", "[::ffff:127.0.0.1]:1"]
    {
        let setup = with("COUNTERSIGN_SERVER__LISTEN", listen);
        let faults = setup.faults();
        let [fault] = faults.as_slice() else { panic!("{listen}: {faults:?}") };
        assert!(fault.starts_with("mail.transport: ") && fault.contains("server.listen"), "{fault}");
        setup.env("COUNTERSIGN_MAIL__TRANSPORT", "file").load();
    }
    let setup = with("COUNTERSIGN_MAIL__TRANSPORT", "log").flag("server.listen", "--listen", "0.0.0.0:1");
    let faults = setup.faults();
    assert!(faults.len() == 1 && faults[0].ends_with("(COUNTERSIGN_MAIL__TRANSPORT)"), "{faults:?}");
    let internal = with("COUNTERSIGN_SERVER__INTERNAL_LISTEN", "0.0.0.0:50052");
    let faults = internal.faults();
    assert!(faults.len() == 1 && faults[0].contains("server.internal_listen"), "{faults:?}");
    internal.env("COUNTERSIGN_MAIL__TRANSPORT", "file").load();
    with("COUNTERSIGN_SERVER__INTERNAL_LISTEN", "127.0.0.1:50052").load();
    for listen in ["127.0.0.1:50051", "127.8.9.10:50051", "[::1]:50051"] {
        with("COUNTERSIGN_SERVER__LISTEN", listen).load();
    }
    // What cannot be read is told alone.
    assert_eq!(with("COUNTERSIGN_SERVER__LISTEN", "abc").faults().len(), 1);
}

#[test]
fn smtp_needs_a_server_and_a_sender() {
    let origin = "required with mail.transport smtp";
    assert_eq!(smtp().faults(), [format!("mail.smtp_url: {origin}"), format!("mail.from: {origin}")]);
    let (url, from) = ("COUNTERSIGN_MAIL__SMTP_URL", "COUNTERSIGN_MAIL__FROM");
    assert_eq!(smtp().env(url, URL).faults(), [format!("mail.from: {origin}")]);
    assert_eq!(smtp().env(from, FROM).faults(), [format!("mail.smtp_url: {origin}")]);
    let (config, _) = smtp().env(url, URL).env(from, FROM).load();
    assert_eq!(config.mail.transport, MailTransport::Smtp);
    assert_eq!(config.mail.smtp_url.unwrap().expose_secret(), URL);
    assert_eq!(config.mail.from.as_deref(), Some(FROM));
    // One that is wrong is not also missing.
    assert_eq!(smtp().env(url, "mail.example.com").env(from, FROM).faults().len(), 1);
}

#[test]
fn the_servers_password_can_be_read_from_a_file_and_is_never_shown() {
    // S57
    let setups = [
        smtp().env("COUNTERSIGN_MAIL__SMTP_URL", URL),
        smtp().file("smtp", &format!("{URL}\n")).env("COUNTERSIGN_MAIL__SMTP_URL_FILE", "smtp"),
        smtp().toml(&format!("mail.smtp_url = '{URL}'\n")),
        smtp().file("smtp", URL).toml("mail.smtp_url_file = 'smtp'\n"),
    ];
    for setup in setups {
        let (config, settings) = setup.env("COUNTERSIGN_MAIL__FROM", FROM).load();
        assert_eq!(setting(&settings, "mail.smtp_url").value, "********");
        let output = format!("{config:?}{settings:?}{}", Config::render(&settings));
        assert!(!output.contains(CANARY), "{output}");
        assert_eq!(config.mail.smtp_url.unwrap().expose_secret(), URL);
    }
    for bad in ["smpt://user:c4n4ry@mail.example.com", "user:c4n4ry@mail.example.com", CANARY] {
        let faults =
            smtp().env("COUNTERSIGN_MAIL__SMTP_URL", bad).env("COUNTERSIGN_MAIL__FROM", FROM).faults();
        assert!(faults.len() == 1 && !faults[0].contains(CANARY), "{faults:?}");
    }
}

#[test]
fn a_link_has_one_place_for_the_token() {
    // S40
    for name in ["VERIFY_URL", "RESET_URL", "CHANGE_EMAIL_URL"] {
        let key = format!("COUNTERSIGN_MAIL__{name}");
        for link in [
            "https://app.example.com/verify?token={token}",
            "https://app.example.com/#/reset/{token}",
            "http://localhost:3000/{token}",
            "com.example.app://confirm/{token}",
        ] {
            let (config, _) = with(&key, link).load();
            let mail = config.mail;
            let set: Vec<_> =
                [mail.verify_url, mail.reset_url, mail.change_email_url].into_iter().flatten().collect();
            assert_eq!(set, [link], "{name}");
        }
        for link in [
            "",
            "{token}",
            "https://app.example.com/verify",
            "https://app.example.com/verify?token=token",
            "https://app.example.com/verify?token={Token}",
            "https://app.example.com/{token}?token={token}",
            "/verify?token={token}",
            "app.example.com/verify?token={token}",
            "://app.example.com/{token}",
            "1st://app.example.com/{token}",
            "https://app.example.com/a b?token={token}",
            "https://app.example.com/?token={token}\r\nBcc: b@example.com", // S42
        ] {
            let faults = with(&key, link).faults();
            assert!(faults.len() == 1 && faults[0].contains("{token}"), "{name}={link}: {faults:?}");
        }
    }
}
