//! A mail from its letter to its bytes, by the transport `file`.

mod received;

use std::{fs, path::Path};

use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use received::Received;

const TO: &str = "user@example.com";

/// Sends one mail at a time, and reads it.
struct Post {
    mailer: Mailer,
    directory: TempDir,
}

impl Post {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = settings(Transport::File { dir: directory.path().join("mail") });
        change(&mut settings);
        Self { mailer: Mailer::new(&settings).unwrap(), directory }
    }

    async fn send(&self, to: &str, content: Content) -> Received {
        let now = Time::from_micros(784_887_151_000_000);
        let id = MailId::generate(now);
        self.mailer.send(id, &Letter { to: to.to_owned(), content }, now).await.unwrap();
        let file = self.directory.path().join(format!("mail/{id}.eml"));
        Received::read(&fs::read_to_string(file).unwrap())
    }
}

fn settings(transport: Transport) -> Settings {
    Settings {
        transport,
        from: "Example <no-reply@mail.example.com>".to_owned(),
        site: "https://auth.example.com".to_owned(),
        templates_dir: None,
    }
}

fn link(link: &str) -> Link {
    Link { link: link.to_owned(), valid_for: "24 hours".to_owned() }
}

fn own(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

/// What [`Mailer::new`] says of an operator's templates.
fn fault(directory: &Path) -> String {
    let mut settings = settings(Transport::Log);
    settings.templates_dir = Some(directory.to_owned());
    let error = Mailer::new(&settings).map(drop).unwrap_err();
    assert_eq!(error.key, "mail.templates_dir");
    error.problem
}

#[tokio::test]
async fn a_message_is_whole() {
    let link = link("https://auth.example.com/verify-email?token=abc");
    let received = Post::new().send("User@Example.com", Content::VerifyEmail(link)).await;
    assert_eq!(received.header("From"), "Example <no-reply@mail.example.com>");
    assert_eq!(received.header("To"), "User@example.com");
    assert_eq!(received.header("Subject"), "Confirm your e-mail address");
    assert_eq!(received.header("Date"), "Tue, 15 Nov 1994 08:12:31 +0000");
    assert_eq!(received.header("Auto-Submitted"), "auto-generated");
    assert_eq!(received.header("MIME-Version"), "1.0");
    assert_eq!(received.headers.len(), 8);
    assert!(
        received.text.contains("\nhttps://auth.example.com/verify-email?token=abc\n"),
        "{}",
        received.text
    );
    assert!(received.text.contains("24 hours"));
    assert!(received.html.starts_with("<!doctype html>") && received.html.ends_with("</html>\n"));
}

#[tokio::test]
async fn each_kind_says_what_it_is_about() {
    let post = Post::new();
    let address = || NewAddress { new_email: "new@example.org".to_owned() };
    let links = || link("https://auth.example.com/x?token=abc");
    let cases = [
        (Content::VerifyEmail(links()), "token=abc"),
        (Content::ResetPassword(links()), "token=abc"),
        (Content::ConfirmEmailChange(links()), "token=abc"),
        (Content::EmailChangeRequested(address()), "new@example.org"),
        (Content::EmailChanged(address()), "new@example.org"),
        (Content::PasswordChanged, "password"),
        (
            Content::SignInMethodChanged(Change { change: "A password was added.".to_owned() }),
            "A password was added.",
        ),
    ];
    let mut subjects = Vec::new();
    for (content, what) in cases {
        assert_eq!(serde_json::to_value(&content).unwrap()["kind"], content.kind());
        let received = post.send(TO, content).await;
        for text in [&received.text, &received.html] {
            assert!(text.contains(what) && text.contains(TO), "{text}");
        }
        subjects.push(received.header("Subject").to_owned());
    }
    subjects.sort();
    subjects.dedup();
    assert_eq!(subjects.len(), 7, "{subjects:?}");
    assert!(subjects.iter().all(|subject| !subject.is_empty()));
}

#[tokio::test]
async fn a_link_arrives_as_it_was_sent() {
    let post = Post::new();
    let long =
        format!("https://app.example.com/a/very/long/path?{}&token=end=", "name=va%20lue&".repeat(200));
    for sent in ["https://app.example.com/#/verify?token=a.b-c_d~e", "https://bücher.example/?t=ä", &long] {
        let received = post.send(TO, Content::ResetPassword(link(sent))).await;
        assert!(received.text.lines().any(|line| line == sent), "{}", received.text);
        let escaped = sent.replace('&', "&amp;").replace('/', "&#x2f;");
        assert_eq!(received.html.matches(&format!("href=\"{escaped}\"")).count(), 2, "{}", received.html);
        assert!(received.html.contains(&format!(">{escaped}</a>")), "{}", received.html);
        // RFC 5322, 2.1.1; 8-bit bytes need an extension.
        assert!(received.raw.lines().all(|line| line.len() <= 998) && received.raw.is_ascii());
    }
}

#[tokio::test]
async fn html_is_escaped_and_text_is_not() {
    let post = Post::new();
    let nasty = "\"<b>'&\"@example.com";
    let received = post.send(TO, Content::EmailChanged(NewAddress { new_email: nasty.to_owned() })).await;
    assert!(received.text.contains(nasty), "{}", received.text);
    assert!(received.html.contains("&quot;&lt;b&gt;&#x27;&amp;&quot;@example.com"), "{}", received.html);
    assert!(!received.html.contains("<b>"));
    let received =
        post.send(TO, Content::VerifyEmail(link("https://a.example/\" onclick='x' <script>"))).await;
    assert!(
        !received.html.contains("<script>") && !received.html.contains("\" onclick"),
        "{}",
        received.html
    );
}

// S42
#[tokio::test]
async fn no_line_break_gets_into_a_header() {
    let own =
        own(&[("password_changed.subject.txt", "{{ to }}\r\nBcc: eve@example.com\n\n\u{2028}\u{b}x\0y")]);
    let post = Post::with(|settings| settings.templates_dir = Some(own.path().to_owned()));
    let received = post.send(TO, Content::PasswordChanged).await;
    assert_eq!(received.header("Subject"), "user@example.com Bcc: eve@example.com x y");
    assert_eq!(received.headers.len(), 8);

    let now = Time::from_micros(0);
    for to in [
        "user@example.com\r\nBcc: eve@example.com",
        "us\r\ner@example.com",
        "a@b.example, c@d.example",
        "a b@c.example",
        "user",
        "",
    ] {
        let letter = Letter { to: to.to_owned(), content: Content::PasswordChanged };
        let error = post.mailer.send(MailId::generate(now), &letter, now).await.unwrap_err().to_string();
        assert_eq!(error, "the recipient's address is none that can be written to");
    }
    for from in ["a@b.example\r\nBcc: eve@example.com", "\"a\rb\" <a@b.example>", "\"a\u{1}b\" <a@b.example>"]
    {
        assert_eq!(
            Sender::parse(from).map(drop),
            Err(Invalid::new("no line breaks or other control characters"))
        );
    }
}

// S42: nor a bare one into a body, which some servers take for the end of a line, and some do not.
#[tokio::test]
async fn line_breaks_in_a_body_are_all_of_one_kind() {
    let own = own(&[("password_changed.txt", "one\r\ntwo\rthree\n.\nfour")]);
    let post = Post::with(|settings| settings.templates_dir = Some(own.path().to_owned()));
    let received = post.send(TO, Content::PasswordChanged).await;
    assert_eq!(received.text, "one\ntwo\nthree\n.\nfour\n");
}

#[tokio::test]
async fn the_same_mail_is_the_same_message() {
    let post = Post::new();
    let now = Time::from_micros(1_700_000_000_000_000);
    let (id, other) = (MailId::generate(now), MailId::generate(now));
    let message = |id, now| {
        let words = post
            .mailer
            .templates
            .render(
                &Letter { to: TO.to_owned(), content: Content::PasswordChanged },
                "https://auth.example.com",
            )
            .unwrap();
        let bytes = post.mailer.sender.compose(id, TO, &words, now).unwrap().formatted();
        Received::read(&String::from_utf8(bytes).unwrap())
    };
    assert_eq!(message(id, now).raw, message(id, now).raw);
    // Sent again later, it still has its name.
    let later = message(id, now + Duration::from_mins(1));
    assert_eq!(later.header("Message-ID"), format!("<{id}@mail.example.com>"));
    assert_ne!(later.header("Date"), message(id, now).header("Date"));
    assert_ne!(message(other, now).header("Message-ID"), later.header("Message-ID"));
}

#[tokio::test]
async fn addresses_outside_of_ascii() {
    let post = Post::with(|settings| settings.from = "Bücher <post@bücher.example>".to_owned());
    let received = post.send("jörg@bücher.example", Content::PasswordChanged).await;
    assert_eq!(received.header("From"), "=?utf-8?b?QsO8Y2hlcg==?= <post@xn--bcher-kva.example>");
    assert_eq!(received.header("To"), "jörg@xn--bcher-kva.example");
    assert!(received.header("Message-ID").ends_with("@xn--bcher-kva.example>"));
    let received = post.send("Straße-1@163.com", Content::PasswordChanged).await;
    assert_eq!(received.header("To"), "Straße-1@163.com");
}

#[test]
fn what_mails_can_be_from() {
    for from in [
        "a@example.com",
        "no-reply@localhost",
        "Example <a@example.com>",
        "\"Example, Inc.\" <a@example.com>",
        "Bücher <a@bücher.example>",
    ] {
        assert_eq!(Sender::parse(from).map(drop), Ok(()), "{from}");
    }
    for from in [
        "",
        "Example",
        "a@",
        "@b.example",
        "a@b.example, c@d.example",
        "Example: a <a@b.example>",
        "jörg@b.example",
        "a@b_c.example",
    ] {
        let Err(Invalid(problem)) = Sender::parse(from).map(drop) else { panic!("{from}") };
        let error = Mailer::new(&Settings { from: from.to_owned(), ..settings(Transport::Log) }).map(drop);
        assert_eq!(error, Err(StartError { key: "mail.from", problem }));
    }
}

#[tokio::test]
async fn a_template_is_replaced_alone() {
    let own = own(&[
        ("verify_email.txt", "Moin {{ to }}!\n{{ link }}\n{{ site }} {{ kind }} {{ valid_for }}"),
        (".hidden", "{{"),
    ]);
    let post = Post::with(|settings| settings.templates_dir = Some(own.path().to_owned()));
    let received = post.send(TO, Content::VerifyEmail(link("https://x.example/?a=1&b=2"))).await;
    assert_eq!(
        received.text,
        "Moin user@example.com!\nhttps://x.example/?a=1&b=2\nhttps://auth.example.com verify_email 24 hours\n"
    );
    assert_eq!(received.header("Subject"), "Confirm your e-mail address");
    assert!(received.html.contains("Confirm this address"));
    // They are read at start, and not again.
    fs::write(own.path().join("verify_email.txt"), "{{").unwrap();
    assert_eq!(
        post.send(TO, Content::VerifyEmail(link("x"))).await.text,
        "Moin user@example.com!\nx\nhttps://auth.example.com verify_email 24 hours\n"
    );
}

#[tokio::test]
async fn a_layout_is_all_html_mails() {
    let own = own(&[(
        "layout.html",
        "<p>Ours</p>{% block body %}{% endblock %}{% if link is defined %}{{ link }}{% endif %}",
    )]);
    let post = Post::with(|settings| settings.templates_dir = Some(own.path().to_owned()));
    let received = post.send(TO, Content::PasswordChanged).await;
    assert!(received.html.starts_with("<p>Ours</p>\n<p>The password"), "{}", received.html);
}

#[test]
fn a_template_that_is_wrong_is_found_at_start() {
    let cases = [
        ("verify_email.txt", "one\n{{ lnik }}\n{{ link }}", ":2: undefined value: `lnik` is undefined"),
        ("verify_email.txt", "{{ link }}\n\n{% if %}", ":3: syntax error: "),
        ("verify_email.html", "{{ link|nonsense }}", ":1: unknown filter: "),
        ("verify_email.html", "{{ link }}\n{% include 'x.html' %}", ":2: template not found: "),
        // A link is not what this mail is about.
        ("password_changed.txt", "{{ link }}", ":1: undefined value"),
        ("layout.html", "\n\n{{ nonsense }}", ":3: undefined value"),
        ("reset_password.txt", "Go to the site.", ": does not say {{ link }}"),
        ("reset_password.html", "Go to the site.", ": does not say {{ link }}"),
        ("password_changed.subject.txt", " \n", ": says nothing"),
        ("verify_mail.txt", "{{ link }}", " is no template's name"),
        ("verify_email.txt~", "{{ link }}", " is no template's name"),
    ];
    for (name, source, problem) in cases {
        let own = own(&[(name, source)]);
        let found = fault(own.path());
        let wanted = format!("{}{problem}", own.path().join(name).display());
        assert!(found.starts_with(&wanted), "{name}: {found}");
    }
    // Ours does not go with the operator's layout: the place is ours.
    let own = own(&[("layout.html", "no blocks")]);
    assert_eq!(fault(own.path()), "verify_email.html (built in): does not say {{ link }}");
    let gone = own.path().join("gone");
    assert!(fault(&gone).starts_with(&format!("cannot read {}: ", gone.display())));
    fs::write(&gone, b"\xff").unwrap();
    assert!(fault(&gone).starts_with(&format!("cannot read {}: ", gone.display())));
    fs::remove_file(&gone).unwrap();
    fs::write(own.path().join("layout.html"), b"\xff").unwrap();
    assert!(fault(own.path()).starts_with(&format!("cannot read {}/layout.html: ", own.path().display())));
}

// S57
#[tokio::test]
async fn an_error_at_work_says_nothing_of_the_mail() {
    let own =
        own(&[("password_changed.txt", "\n{% if 'canary' in to %}{% include to %}{% endif %}{{ to }}")]);
    let post = Post::with(|settings| settings.templates_dir = Some(own.path().to_owned()));
    let now = Time::from_micros(0);
    let letter = Letter { to: "canary@example.com".to_owned(), content: Content::PasswordChanged };
    let error = post.mailer.send(MailId::generate(now), &letter, now).await.unwrap_err().to_string();
    assert_eq!(error, "the template password_changed.txt:2 fails: template not found");
}

#[test]
fn a_directory_that_cannot_be_is_found_at_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Mailer::new(&settings(Transport::File { dir: file.path().join("x") })).map(drop).unwrap_err();
    assert_eq!(error.key, "mail.dir");
}

#[tokio::test]
async fn sending_has_an_end() {
    // Takes connections, by way of the kernel, and never greets.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", silent.local_addr().unwrap());
    let mut mailer = Mailer::new(&settings(Transport::Smtp { url: url.into() })).unwrap();
    assert_eq!(mailer.time_limit, Duration::from_secs(30));
    mailer.time_limit = Duration::from_millis(20);
    let now = Time::from_micros(0);
    let letter = Letter { to: TO.to_owned(), content: Content::PasswordChanged };
    let error = mailer.send(MailId::generate(now), &letter, now).await.unwrap_err();
    assert_eq!(error.to_string(), "not sent within 20ms");
}
