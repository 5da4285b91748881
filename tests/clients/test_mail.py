"""Mail, as it arrives at a real mail server: by aiosmtpd, over TLS, from a service that has signed in there.

`server` sends to `mail_server`, which is always up. Where one of the two goes away, or is not what the other takes it for, a
test has its own: `own_server`, which it starts, and `own_mail_server`, which is down at first. A mail that was not taken is
sent again after 5 seconds, which is what these tests spend their time with.

It is long for being one list of what is promised of mail; what a proper message is comes last.
"""

import base64
import itertools
import re
import socket
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from urllib.parse import quote

import psycopg
import pytest
import requests

import mail_server as post
from conftest import BINARY, PASSWORD, POSTGRES, Server, bearer, free_port, new_database, new_email, problem
from mail_server import Authority, Mail, MailServer, Then

VERIFY = "Confirm your e-mail address"
RESET = "Set a new password"
CONFIRM_CHANGE = "Confirm your new e-mail address"
CHANGE_REQUESTED = "A new e-mail address was asked for"
EMAIL_CHANGED = "Your e-mail address was changed"
PASSWORD_CHANGED = "Your password was changed"

# What has nothing to do with the database is shown on one.
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("database", ["postgres"] if POSTGRES else [], indirect=True)


@pytest.fixture
def own_mail_server(authority):
    server = MailServer(authority, free_port())
    yield server
    server.stop()


@pytest.fixture
def own_server(database, tmp_path, own_mail_server):
    server = Server(database, tmp_path, new_database(database) | own_mail_server.environment)
    yield server
    server.kill()


@pytest.fixture
def other_server(own_server, tmp_path_factory):
    """Another replica, on the database of `own_server`."""
    same_site = {"COUNTERSIGN_SERVER__PUBLIC_URL": own_server.base}
    server = Server(own_server.database, tmp_path_factory.mktemp("other"), own_server.environment | same_site)
    yield server
    server.kill()


@pytest.fixture
def connection(own_server):
    """To the database of `own_server`, on PostgreSQL."""
    with psycopg.connect(own_server.environment["COUNTERSIGN_DATABASE__URL"], autocommit=True) as connection:
        yield connection


def test_a_mailed_link_verifies_the_address(server, mail_server):
    email = new_email()
    person = server.register(email)
    mail = mail_server.read(email, VERIFY)
    assert (mail.tls, mail.user) == ("TLSv1.3", post.USER)
    assert mail.link == f"{server.base}/verify-email?token={mail.token}"
    assert not server.me(person["access_token"])["email_verified"]

    r = requests.post(f"{server.base}/api/v1/auth/verify-email", json={"token": mail.token})
    assert (r.status_code, r.json()["email_verified"]) == (200, True)
    assert server.me(person["access_token"])["email_verified"]
    assert problem(server.call("verify-email", {"token": mail.token})) == (400, "ONE_TIME_TOKEN_INVALID")


def test_existing_http_clients_set_a_new_password(own_server, own_mail_server):
    own_mail_server.start()
    own_server.start()
    base = own_server.base
    session = own_server.register("user@example.com")

    # Word for word.
    r = requests.post(f"{base}/api/v1/auth/forgot-password", json={"email": "user@example.com"})
    assert (r.status_code, r.json()) == (200, {})
    token = own_mail_server.read("user@example.com", RESET).token
    r = requests.post(f"{base}/api/v1/auth/reset-password", json={"token": token, "new_password": "newpassword"})
    assert (r.status_code, r.json()) == (200, {})

    # It works once, ends what was before, and the owner is told.
    again = own_server.call("reset-password", {"token": token, "new_password": "another password"})
    assert problem(again) == (400, "ONE_TIME_TOKEN_INVALID")
    assert problem(requests.get(f"{base}/api/v1/users/me", headers=bearer(session))) == (401, "CREDENTIAL_REVOKED")
    assert problem(own_server.call("refresh", {"refresh_token": session["refresh_token"]}))[0] == 401
    for password, status in [(PASSWORD, 401), ("another password", 401), ("newpassword", 200)]:
        assert own_server.call("login", {"email": "user@example.com", "password": password}).status_code == status
    own_mail_server.read("user@example.com", PASSWORD_CHANGED)


def test_whoever_has_no_account_gets_no_mail(server, mail_server):
    # S14
    stranger, email = new_email(), new_email()
    server.register(email)
    for method in ["forgot-password", "resend-verification"]:
        known, unknown = (server.call(method, {"email": address}) for address in [email, stranger])
        assert (known.status_code, known.content) == (unknown.status_code, unknown.content) == (200, b"{}")
    # What was asked for later has been sent.
    later = new_email()
    server.register(later)
    mail_server.read(later, VERIFY)
    assert stranger not in [recipient for mail in mail_server.mails for recipient in mail.recipients]


def test_every_mail_is_a_proper_message(server, mail_server):
    email, new = new_email(), new_email()
    person = server.register(email)
    mails = [mail_server.read(email, VERIFY)]
    server.call("forgot-password", {"email": email})
    mails.append(mail_server.read(email, RESET))
    server.call("change-password", {"current_password": PASSWORD, "new_password": f"{PASSWORD}s"}, person["access_token"])
    mails.append(mail_server.read(email, PASSWORD_CHANGED))
    server.call("change-email", {"new_email": new, "password": f"{PASSWORD}s"}, person["access_token"])
    mails += [mail_server.read(new, CONFIRM_CHANGE), mail_server.read(email, CHANGE_REQUESTED)]
    server.call("confirm-email-change", {"token": mails[-2].token})
    mails.append(mail_server.read(email, EMAIL_CHANGED))
    for mail in mails:
        assert_proper(mail)
    assert len({mail.message_id for mail in mails}) == len(mails)
    # S57
    for secret in [email, new, post.PASSWORD, *(mail.token for mail in mails if mail.links)]:
        assert secret not in server.log


def test_an_address_outside_of_ascii_is_written_to(server, mail_server):
    server.register("jörg@bücher.example")
    mail = mail_server.read("jörg@xn--bcher-kva.example", VERIFY)
    assert mail.message["To"] == "jörg@xn--bcher-kva.example"
    assert server.call("verify-email", {"token": mail.token}).status_code == 200


def test_nobody_writes_a_header_or_a_word_of_a_mail(server, mail_server, person):
    # S42
    eve = "eve@evil.example"
    for end in ["\r\n", "\n", "\r"]:
        names = [f"Ada{end}Bcc: {eve}", f"Ada{end}{end}<a href='https://evil.example'>"]
        emails = [f"ada@example.com{end}Bcc: {eve}", f"ada@example.com>{end}RCPT TO:<{eve}", f"{end}{eve}", f"{eve}{end}", f"eve{end}@evil.example"]
        for email, name in [(new_email(), name) for name in names] + [(email, "Ada") for email in emails]:
            assert problem(server.call("register", {"email": email, "password": PASSWORD, "name": name})) == (400, "INVALID_FIELD")
        for email in emails:
            calls = [
                server.call("forgot-password", {"email": email}),
                server.call("resend-verification", {"email": email}),
                server.call("change-email", {"new_email": email, "password": PASSWORD}, person["access_token"]),
            ]
            assert [problem(call) for call in calls] == [(400, "INVALID_FIELD")] * len(calls)
    for email in [f"ada@example.com,{eve}", f"<{eve}>", f"Ada <{eve}>", f'"{eve}"@example.com', f"{eve}\0"]:
        assert problem(server.call("register", {"email": email, "password": PASSWORD, "name": "Ada"})) == (400, "INVALID_FIELD")

    email = new_email()
    server.register(email, name=f"<a href='https://evil.example'>{{{{ link }}}}</a> Bcc: {eve}")
    assert_proper(mail_server.read(email, VERIFY))
    for mail in mail_server.mails:
        for text in [*mail.recipients, *mail.message.values(), mail.body("plain"), mail.body("html")]:
            assert "evil.example" not in text


@on_sqlite
def test_nobody_waits_for_the_mail_server(own_server, own_mail_server):
    # S15. It takes connections, by way of the kernel, and never greets. A call that waited would have ended in an error.
    with socket.create_server(("127.0.0.1", own_mail_server.port)) as silent:
        silent.settimeout(60)
        own_server.start()
        own_server.register(new_email())
        silent.accept()[0].close()
        assert own_server.call("forgot-password", {"email": new_email()}).status_code == 200


@on_sqlite
def test_a_mail_that_is_not_answered_holds_no_other_up(own_server, own_mail_server):
    own_mail_server.then = Then.SAY_NOTHING
    own_mail_server.start()
    own_server.start()
    first, second = new_email(), new_email()
    own_server.register(first)
    own_mail_server.read(first, VERIFY)
    own_mail_server.then = Then.ANSWER
    own_server.register(second)
    # The first is given 30 seconds.
    own_mail_server.read(second, VERIFY, patience=20)


def test_mails_wait_until_the_mail_server_is_back(own_server, own_mail_server):
    own_server.start()
    email = new_email()
    person = own_server.register(email)
    assert own_server.call("forgot-password", {"email": email}).status_code == 200
    own_server.wait_for_log("cannot connect to the mail server: Connection refused")
    own_mail_server.start()
    own_server.call("verify-email", {"token": own_mail_server.read(email, VERIFY).token})
    assert own_server.me(person["access_token"])["email_verified"]
    reset = {"token": own_mail_server.read(email, RESET).token, "new_password": f"{PASSWORD}s"}
    assert own_server.call("reset-password", reset).status_code == 200
    own_mail_server.read(email, PASSWORD_CHANGED)
    assert own_mail_server.unread() == []


def test_mails_outlive_a_service_that_is_killed(own_server, own_mail_server):
    # This time the mail server goes away while a connection to it is kept.
    own_mail_server.start()
    own_server.start()
    email = new_email()
    own_server.register(email)
    own_mail_server.read(email, VERIFY)
    own_mail_server.stop()
    own_server.call("forgot-password", {"email": email})
    own_server.kill()
    end_claims(own_server)
    own_mail_server.start()
    own_server.start()
    reset = {"token": own_mail_server.read(email, RESET).token, "new_password": f"{PASSWORD}s"}
    assert own_server.call("reset-password", reset).status_code == 200


def test_a_mail_whose_answer_is_lost_comes_again_as_the_same_message(own_server, own_mail_server):
    own_mail_server.then = Then.HANG_UP
    own_mail_server.start()
    own_server.start()
    email = new_email()
    own_server.register(email)
    first = own_mail_server.read(email, VERIFY)
    own_mail_server.then = Then.ANSWER
    own_server.wait_for_log("the mail server did not take it")
    assert_same(first, own_mail_server.read(email, VERIFY))
    own_server.wait_for_log("mail sent")
    assert own_server.call("verify-email", {"token": first.token}).status_code == 200


@on_postgres
def test_a_mail_whose_sender_dies_comes_from_another_as_the_same_message(own_server, other_server, own_mail_server, connection):
    own_mail_server.then = Then.SAY_NOTHING
    own_mail_server.start()
    own_server.start()
    email = new_email()
    own_server.register(email)
    first = own_mail_server.read(email, VERIFY)
    own_server.kill()
    own_mail_server.then = Then.ANSWER
    end_claims(own_server)
    other_server.start()
    assert_same(first, own_mail_server.read(email, VERIFY))
    other_server.wait_for_log("mail sent")
    assert connection.execute("SELECT count(*) FROM mails").fetchone() == (0,)


@on_postgres
def test_of_two_replicas_one_sends_each_mail(own_server, other_server, own_mail_server, connection):
    own_mail_server.start()
    replicas = {"one.example": own_server, "two.example": other_server}
    for name, replica in replicas.items():
        replica.start(COUNTERSIGN_MAIL__SMTP_URL=own_mail_server.url(client=name))
    # Signing them up would mean to hash 200 passwords.
    emails = [f"one-of-many-{number}@example.com" for number in range(200)]
    connection.execute(
        """INSERT INTO users (id, email, email_normalized, name, password_version, scopes, create_time, update_time)
        SELECT gen_random_uuid(), email, email, '', 0, '', now(), now() FROM unnest(%s::text[]) AS emails (email)""",
        [emails],
    )
    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(replica.call, "forgot-password", {"email": email})
            for email, replica in zip(emails, itertools.cycle(replicas.values()))
        ]
        assert {call.result().status_code for call in calls} == {200}
    for email in emails:
        own_mail_server.read(email, RESET)
    # They end well, and what they were doing is done.
    for replica in replicas.values():
        replica.stop()
    assert connection.execute("SELECT count(*) FROM mails").fetchone() == (0,)
    mails = own_mail_server.mails
    assert sorted(recipient for mail in mails for recipient in mail.recipients) == sorted(emails)
    assert len({mail.message_id for mail in mails}) == len({mail.token for mail in mails}) == len(emails)
    # And not one of them all.
    assert {mail.client for mail in mails} == replicas.keys()


@on_sqlite
@pytest.mark.parametrize(
    "fault, why",
    [
        ("password", "cannot sign in to the mail server: it answered 535 5.7.8"),
        ("authority", "cannot encrypt the connection to the mail server: Connection error: invalid peer certificate: UnknownIssuer"),
        ("host", "cannot encrypt the connection to the mail server: Connection error: invalid peer certificate: certificate not valid"),
    ],
    ids=["password", "authority", "host"],
)
def test_what_is_wrong_is_in_the_log_and_the_mail_waits(own_server, own_mail_server, tmp_path, fault, why):
    # One of them over TLS from the first byte on, for a change.
    own_mail_server.implicit_tls = fault == "password"
    own_mail_server.start()
    own_server.environment |= own_mail_server.environment
    password = "canary/of?another#password"
    wrong = {
        "password": {"COUNTERSIGN_MAIL__SMTP_URL": own_mail_server.url(password)},
        "authority": {"SSL_CERT_FILE": str(Authority(tmp_path).file)},
        "host": {"COUNTERSIGN_MAIL__SMTP_URL": own_mail_server.url().replace("localhost", "127.0.0.1")},
    }
    own_server.start(COUNTERSIGN_TELEMETRY__LOG_LEVEL="trace", **wrong[fault])
    email = new_email()
    own_server.register(email)
    own_server.wait_for_log(why)
    own_server.stop()
    assert own_mail_server.mails == []
    assert (own_mail_server.refused > 0) == (fault == "password")

    own_server.start()
    mail = own_mail_server.read(email, VERIFY)
    assert (mail.tls, mail.user) == ("TLSv1.3", post.USER)
    assert own_server.call("verify-email", {"token": mail.token}).status_code == 200
    # S57, even at the lowest level.
    for word in [post.PASSWORD, password]:
        for secret in [word, quote(word, safe=""), base64.b64encode(f"\0{post.USER}\0{word}".encode()).decode()]:
            assert secret not in own_server.log
    for secret in [email, PASSWORD, mail.token]:
        assert secret not in own_server.log


@on_sqlite
def test_the_transport_for_laptops_prints_the_link_and_says_so(database, tmp_path):
    server = Server(database, tmp_path, {})
    server.start()
    try:
        server.wait_for_log("mail.transport is `log`: mails are printed, with the one-time links in them")
        email = new_email()
        person = server.register(email)
        server.wait_for_log("mail sent")
        token = re.search(rf"^To: {email}\nSubject: {VERIFY}\n(?:.*\n)*?{server.base}/verify-email\?token=(\S+)$", server.output, re.MULTILINE)[1]
        assert server.call("verify-email", {"token": token}).status_code == 200
        assert server.me(person["access_token"])["email_verified"]
        server.stop()
        # The exception to S57 is for standard output.
        assert token not in server.log and email not in server.log
    finally:
        server.kill()


@on_sqlite
@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"])
def test_where_others_can_call_no_link_is_printed(database, tmp_path, listen):
    refused = subprocess.run([BINARY, "serve"], cwd=tmp_path, env={"COUNTERSIGN_SERVER__LISTEN": listen}, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 64
    assert "mail.transport" in refused.stderr and "unless server.listen" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def end_claims(server: Server):
    """Makes two minutes pass: so long nobody else takes a mail that a dead service may have been sending."""
    statement = "UPDATE mails SET due_time = create_time"
    if server.database == "postgres":
        with psycopg.connect(server.environment["COUNTERSIGN_DATABASE__URL"]) as connection:
            connection.execute(statement)
    else:
        with closing(sqlite3.connect(server.directory / "countersign.db")) as connection, connection:
            connection.execute(statement)


def assert_same(first: Mail, second: Mail):
    """What a mailbox needs to see that it has the mail already; only the date may differ."""
    assert second.message_id == first.message_id
    first, second = (re.sub(rb"^Date: .*$", b"", mail.raw, flags=re.MULTILINE) for mail in (first, second))
    assert second == first


def assert_proper(mail: Mail):
    """RFC 5322, RFC 2046 and RFC 3834, and nothing in it that is loaded from elsewhere."""
    (to,) = mail.recipients
    message = mail.message
    headers = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]
    assert sorted(name.lower() for name in message.keys()) == sorted(name.lower() for name in headers)
    assert (mail.sender, message["From"], message["To"]) == (post.SENDER, f"Example <{post.SENDER}>", to)
    assert re.fullmatch(r"<mail_\w+@mail\.example\.com>", mail.message_id)
    assert abs(parsedate_to_datetime(message["Date"]).timestamp() - time.time()) < 300
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "multipart/alternative"
    # In this order: the last is the one to be preferred.
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert [part.defects for part in message.walk()] == [[]] * 3
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|[^\r\n]{999}|[^\x00-\x7f]|\x00", mail.raw)

    html = Html()
    html.feed(mail.body("html"))
    assert to in "".join(html.text) and to in mail.body("plain")
    # Once as a button.
    assert html.links == mail.links * 2
    assert html.loads == []


class Html(HTMLParser):
    """What the HTML form shows, where it leads, and what it loads."""

    def __init__(self):
        super().__init__()
        self.text, self.links, self.loads = [], [], []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "href":
                self.links.append(value)
            if name in ("src", "srcset", "background") or tag in ("script", "link", "img", "iframe") or "url(" in (value or ""):
                self.loads.append((tag, name, value))

    def handle_data(self, data):
        self.text.append(data)
