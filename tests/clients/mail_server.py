"""A real mail server, aiosmtpd, in a thread of the tests. It takes mails over TLS only, from who signs in, and tests read them."""

import asyncio
import email.policy
import re
import ssl
import threading
from dataclasses import dataclass
from email.message import EmailMessage
from enum import Enum
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

USER = "countersign@example.com"
# With all that means something in a URL.
PASSWORD = "canary/of?the#mail@server:100%"
SENDER = "no-reply@mail.example.com"


class Authority:
    """A certificate authority that nobody knows but who is given its `file`."""

    def __init__(self, directory: Path):
        self.ca = trustme.CA()
        self.file = directory / "authority.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def context(self) -> ssl.SSLContext:
        """What a server on this machine proves itself with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert("localhost").configure_cert(context)
        return context


@dataclass
class Mail:
    """A mail as the server took it."""

    sender: str
    recipients: list[str]
    # Of the connection that it came by: its TLS version, who had signed in, and by what name the client had said hello.
    tls: str
    user: str
    client: str
    raw: bytes
    read: bool = False

    @property
    def message(self) -> EmailMessage:
        return email.message_from_bytes(self.raw, policy=email.policy.default)

    @property
    def subject(self) -> str:
        return self.message["Subject"]

    @property
    def message_id(self) -> str:
        return self.message["Message-ID"]

    def body(self, kind: str) -> str:
        """Its `plain` or `html` form."""
        return self.message.get_body((kind,)).get_content().replace("\r\n", "\n")

    @property
    def links(self) -> list[str]:
        """Those of its text, each of which stands on a line of its own."""
        return re.findall(r"^https?://\S+$", self.body("plain"), re.MULTILINE)

    @property
    def link(self) -> str:
        (link,) = self.links
        return link

    @property
    def token(self) -> str:
        (token,) = parse_qs(urlsplit(self.link).query)["token"]
        return token


class Then(Enum):
    """What the server does once it has a mail."""

    ANSWER = "answer"
    HANG_UP = "hang up"
    SAY_NOTHING = "say nothing"


class MailServer:
    """Down until `start`, and again after `stop`, always on the same port. Mails stay."""

    def __init__(self, authority: Authority, port: int, implicit_tls=False):
        self.authority = authority
        self.port = port
        self.implicit_tls = implicit_tls
        self.then = Then.ANSWER
        self.refused = 0
        self.mails: list[Mail] = []
        self._news = threading.Condition()
        self._controller = None

    def start(self):
        context = self.authority.context()
        if self.implicit_tls:
            # aiosmtpd takes TLS from the first byte on for none at all. That somebody has signed in is seen to below.
            options = {"ssl_context": context, "auth_require_tls": False}
        else:
            options = {"tls_context": context, "require_starttls": True, "auth_required": True}
        self._controller = Controller(self, "127.0.0.1", self.port, authenticator=self._authenticate, **options)
        self._controller.start()

    def stop(self):
        if self._controller:
            self._controller.stop()
        self._controller = None

    def url(self, password=PASSWORD, client="") -> str:
        """For `mail.smtp_url`."""
        scheme, query = ("smtps", "") if self.implicit_tls else ("smtp", "?tls=required")
        return f"{scheme}://{quote(USER, safe='')}:{quote(password, safe='')}@localhost:{self.port}/{client}{query}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes a service send its mails here."""
        return {
            "SSL_CERT_FILE": str(self.authority.file),
            "COUNTERSIGN_MAIL__TRANSPORT": "smtp",
            "COUNTERSIGN_MAIL__SMTP_URL": self.url(),
            "COUNTERSIGN_MAIL__FROM": f"Example <{SENDER}>",
        }

    def read(self, to: str, subject: str, patience=60) -> Mail:
        """The next mail to somebody about something, waiting for it if need be."""
        with self._news:
            def meant():
                return next((mail for mail in self.unread() if mail.recipients == [to] and mail.subject == subject), None)

            mail = self._news.wait_for(meant, patience)
            assert mail, f"no mail to {to} with the subject {subject!r}, but {[(mail.recipients, mail.subject) for mail in self.unread()]}"
            mail.read = True
            return mail

    def unread(self) -> list[Mail]:
        """Those that no test has read."""
        return [mail for mail in self.mails if not mail.read]

    def _authenticate(self, server, session, envelope, mechanism, credentials) -> AuthResult:
        success = credentials == (USER.encode(), PASSWORD.encode())
        self.refused += not success
        return AuthResult(success=success, handled=False, auth_data=credentials)

    async def handle_DATA(self, server, session, envelope):
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        tls = server.transport.get_extra_info("ssl_object").version()
        user = session.auth_data.login.decode()
        mail = Mail(envelope.mail_from, envelope.rcpt_tos, tls, user, session.host_name, envelope.content)
        with self._news:
            self.mails.append(mail)
            self._news.notify_all()
        if self.then is Then.ANSWER:
            return "250 OK"
        if self.then is Then.HANG_UP:
            server.transport.abort()
        await asyncio.Future()
