//! Against a mail server that answers as the test says.

use lettre::{Address, transport::smtp::client::CertificateStore};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::*;

/// What to answer on which connection to which command: `""` is the beginning, `.` the end of a message.
type Answer = fn(usize, &str) -> Reply;

enum Reply {
    Usual,
    Say(&'static str),
    SayAndHangUp,
    Never,
}

use Reply::{Never, Say, SayAndHangUp, Usual};

struct Server {
    port: u16,
    /// Each line, with the number of its connection.
    lines: UnboundedReceiver<(usize, String)>,
}

impl Server {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, lines) = unbounded_channel();
        tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(talk(stream, number, answer, sender.clone()));
            }
        });
        Self { port, lines }
    }

    fn smtp(&self, form: &str) -> Smtp {
        let url = SmtpUrl::parse(&form.replace("HOST", &format!("127.0.0.1:{}", self.port))).unwrap();
        let tls = TlsParameters::builder("127.0.0.1".to_owned()).certificate_store(CertificateStore::None);
        Smtp { tls: Some(tls.build().unwrap()), ..Smtp::new(url).unwrap() }
    }

    /// All that was said so far.
    fn heard(&mut self) -> Vec<(usize, String)> {
        std::iter::from_fn(|| self.lines.try_recv().ok()).collect()
    }
}

async fn talk(stream: TcpStream, number: usize, answer: Answer, sender: UnboundedSender<(usize, String)>) {
    let mut stream = BufReader::new(stream);
    let (mut line, mut in_message) = (String::new(), false);
    loop {
        let command = line.trim_end();
        if !in_message || command == "." {
            let usual = match command.split(' ').next().unwrap() {
                "" => "220 here",
                "EHLO" => "250-here\r\n250-8BITMIME\r\n250 AUTH PLAIN",
                "AUTH" => "235 welcome",
                "DATA" => "354 go on",
                "QUIT" => "221 bye",
                _ => "250 yes",
            };
            let (text, end) = match answer(number, command) {
                Usual => (usual, false),
                Say(text) => (text, false),
                SayAndHangUp => (usual, true),
                Never => std::future::pending().await,
            };
            stream.write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
            if end {
                return;
            }
            in_message = text.starts_with("354");
        }
        line.clear();
        if stream.read_line(&mut line).await.unwrap_or_default() == 0 {
            return;
        }
        sender.send((number, line.trim_end().to_owned())).unwrap();
    }
}

fn envelope() -> Envelope {
    let address = |text: &str| text.parse::<Address>().unwrap();
    Envelope::new(Some(address("us@example.com")), vec![address("canary@example.com")]).unwrap()
}

#[tokio::test]
async fn mails_go_over_one_connection() {
    let mut server = Server::start(|_, _| Usual).await;
    let smtp = server.smtp("smtp://HOST");
    for message in ["first", "second"] {
        smtp.send(&envelope(), message.as_bytes()).await.unwrap();
    }
    let heard = server.heard();
    assert!(heard.iter().all(|(connection, _)| *connection == 0), "{heard:?}");
    let commands: Vec<_> = heard.iter().map(|(_, line)| line.split(' ').next().unwrap()).collect();
    let mail = |message| ["MAIL", "RCPT", "DATA", message, "."];
    assert_eq!(commands, [&["EHLO"][..], &mail("first"), &["NOOP"], &mail("second")].concat());
}

// The reason why this is not lettre's pool.
#[tokio::test]
async fn a_connection_that_was_left_in_the_middle_is_not_used_again() {
    let mut server = Server::start(|connection, command| match (connection, command) {
        (0, ".") => Never,
        _ => Usual,
    })
    .await;
    let smtp = server.smtp("smtp://HOST");
    let all_said = async { while server.lines.recv().await.unwrap().1 != "." {} };
    let envelope = envelope();
    tokio::select! {
        sent = smtp.send(&envelope, b"first") => panic!("{sent:?}"),
        () = all_said => {}
    }
    smtp.send(&envelope, b"second").await.unwrap();
    let heard = server.heard();
    assert!(heard.contains(&(1, "second".to_owned())), "{heard:?}");
    assert!(heard.iter().all(|(connection, _)| *connection == 1), "{heard:?}");
}

#[tokio::test]
async fn a_connection_that_was_lost_is_replaced() {
    let mut server = Server::start(|connection, command| match (connection, command) {
        (0, ".") => SayAndHangUp,
        _ => Usual,
    })
    .await;
    let smtp = server.smtp("smtp://HOST");
    for _ in 0..2 {
        smtp.send(&envelope(), b"message").await.unwrap();
    }
    assert!(server.heard().contains(&(1, "message".to_owned())));
}

// S57
#[tokio::test]
async fn an_error_has_the_code_and_not_the_words() {
    let refused = "the mail server did not take it: it";
    let cases: [(Answer, String); 7] = [
        (
            |_, command| {
                if command.starts_with("RCPT") {
                    Say("550 5.1.1 <canary@example.com>: unknown")
                } else {
                    Usual
                }
            },
            format!("{refused} answered 550 5.1.1"),
        ),
        (
            |_, command| {
                if command.starts_with("MAIL") { Say("451 canary@example.com later") } else { Usual }
            },
            format!("{refused} answered 451"),
        ),
        (
            |_, command| if command == "." { Say("554-5.7.1 canary\r\n554 5.7.1 canary") } else { Usual },
            format!("{refused} answered 554 5.7.1"),
        ),
        (
            |_, command| if command == "DATA" { Say("canary@example.com") } else { Usual },
            format!("{refused} does not answer as a mail server does"),
        ),
        (
            |_, command| if command.starts_with("AUTH") { Say("535 5.7.8 canary") } else { Usual },
            "cannot sign in to the mail server: it answered 535 5.7.8".to_owned(),
        ),
        (
            |_, command| if command.is_empty() { Say("421 4.3.2 canary") } else { Usual },
            "cannot connect to the mail server: it answered 421 4.3.2".to_owned(),
        ),
        (
            |_, command| if command.starts_with("EHLO") { Say("250 here") } else { Usual },
            "cannot sign in to the mail server: No compatible authentication mechanism was found".to_owned(),
        ),
    ];
    for (answer, wanted) in cases {
        let server = Server::start(answer).await;
        let smtp = server.smtp("smtp://canary:canary@HOST");
        let error = smtp.send(&envelope(), b"canary").await.unwrap_err();
        assert_eq!(error.to_string(), wanted);
        // And the connection is not kept.
        assert!(smtp.kept().is_empty());
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let smtp = Smtp::new(SmtpUrl::parse(&format!("smtp://{gone}")).unwrap()).unwrap();
    let error = smtp.send(&envelope(), b"canary").await.unwrap_err().to_string();
    assert!(error.starts_with("cannot connect to the mail server: Connection refused"), "{error}");
}

#[tokio::test]
async fn nothing_is_said_in_the_clear_where_encryption_is_required() {
    let mut server = Server::start(|_, _| Usual).await;
    let smtp = server.smtp("smtp://user:password@HOST?tls=required");
    let error = smtp.send(&envelope(), b"message").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot encrypt the connection to the mail server: STARTTLS is not supported on this server"
    );
    let heard = server.heard();
    assert!(heard.iter().all(|(_, line)| line.starts_with("EHLO")), "{heard:?}");
}

#[tokio::test]
async fn an_address_that_the_server_cannot_take_is_an_error() {
    let server = Server::start(|_, _| Usual).await;
    let envelope = Envelope::new(None, vec!["jörg@example.com".parse().unwrap()]).unwrap();
    let error = server.smtp("smtp://HOST").send(&envelope, b"message").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the mail server did not take it: Envelope contains non-ascii chars but server does not support SMTPUTF8"
    );
}
