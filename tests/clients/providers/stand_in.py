"""What the providers that are played here share: a server on loopback, the page where people sign in, and codes."""

import contextlib
import json
import secrets
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

CLIENT_ID = "countersign"
CLIENT_SECRET = "the secret of this client"
NAME = "Ada Lovelace"

PAGE = """<!doctype html><title>{0}</title><h1>{0}</h1>
<form method="post">
<label>E-mail address <input name="email"></label>
<button name="answer" value="allow">Allow</button> <button name="answer" value="cancel">Cancel</button>
</form>"""


@dataclass
class Request:
    """What came in."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    form: dict[str, str]


@dataclass
class Answer:
    """What goes out: JSON, unless the content says otherwise."""

    status: int
    content: dict | list | str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Granted:
    """What a person allowed: who they are, and by which request they were asked."""

    email: str
    request: dict[str, str]


class StandIn:
    """A provider. Whoever says an e-mail address on its page has it."""

    name: str
    # What it answers when a person says no.
    cancelled: str
    authorization_path: str

    def __init__(self):
        self.codes: dict[str, Granted] = {}
        self.tokens: dict[str, Granted] = {}

    def route(self, request: Request) -> Answer:
        """Everything but the sign-in page."""
        raise NotImplementedError

    def refusal(self, query: dict[str, str]) -> str | None:
        """Why nobody may be asked by this request, if so."""
        if query["client_id"] != CLIENT_ID or query["response_type"] != "code" or "redirect_uri" not in query:
            return "invalid_request"
        return None

    @contextlib.contextmanager
    def running(self):
        """Serves it, on a port of its own."""
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                url = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(url.path, dict(parse_qsl(url.query)), headers, dict(parse_qsl(body)))
                answer = stand_in.authorize(request) if url.path == stand_in.authorization_path else stand_in.route(request)
                text, kind = answer.content, "text/html"
                if not isinstance(text, str):
                    text, kind = json.dumps(text), "application/json"
                content = text.encode()
                self.send_response(answer.status)
                for header, value in ({"content-type": kind, "content-length": str(len(content))} | answer.headers).items():
                    self.send_header(header, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def authorize(self, request: Request) -> Answer:
        """The page, and where it leads."""
        if refusal := self.refusal(request.query):
            return Answer(400, {"error": refusal})
        if "answer" not in request.form:
            return Answer(200, PAGE.format(self.name))
        if request.form["answer"] == "allow":
            code = secrets.token_urlsafe()
            self.codes[code] = Granted(request.form["email"], request.query)
            outcome = {"code": code}
        else:
            outcome = {"error": self.cancelled, "error_description": "The person said no"}
        if state := request.query.get("state"):
            outcome["state"] = state
        return Answer(303, "", {"location": f"{request.query['redirect_uri']}?{urlencode(outcome)}"})

    def redeem(self, form: dict[str, str]) -> tuple[str, Granted] | None:
        """An access token for a code, once, and for the redirect URI that it was issued for."""
        granted = self.codes.pop(form.get("code"), None)
        if not granted or form.get("redirect_uri") != granted.request["redirect_uri"]:
            return None
        token = secrets.token_urlsafe()
        self.tokens[token] = granted
        return token, granted

    def owner(self, request: Request) -> Granted | None:
        """Whose access token came along."""
        return self.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))


def is_client(form: dict[str, str]) -> bool:
    """Whether the secret came in the body."""
    return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
