"""GitHub as its documentation has it: tokens as a form unless JSON is asked for, errors with status 200, two calls for who
somebody is."""

import base64
import hashlib
from urllib.parse import urlencode
from zlib import crc32

from providers.stand_in import NAME, Answer, Granted, Request, StandIn, is_client


class GitHub(StandIn):
    name = "GitHub"
    cancelled = "access_denied"
    authorization_path = "/login/oauth/authorize"

    def route(self, request: Request) -> Answer:
        match request.path:
            case "/login/oauth/access_token":
                return self.answer(request, self.token(request.form))
            case "/api/user" | "/api/user/emails" if "user-agent" not in request.headers:
                return Answer(403, "Request forbidden by administrative rules.")
            case "/api/user" if granted := self.owner(request):
                return Answer(200, {"id": crc32(granted.email.encode()), "login": "ada", "name": NAME, "email": None})
            case "/api/user/emails" if granted := self.owner(request):
                return self.emails(granted)
            case "/api/user" | "/api/user/emails":
                return Answer(401, {"message": "Bad credentials"})
        return Answer(404, {"message": "Not Found"})

    def token(self, form: dict[str, str]) -> dict:
        if not is_client(form):
            return {"error": "incorrect_client_credentials", "error_description": "The client_id and/or client_secret passed are incorrect."}
        redeemed = self.redeem(form)
        if not redeemed or not proves(form.get("code_verifier"), redeemed[1].request.get("code_challenge")):
            return {"error": "bad_verification_code", "error_description": "The code passed is incorrect or expired."}
        token, granted = redeemed
        return {"access_token": token, "scope": granted.request.get("scope", ""), "token_type": "bearer"}

    def answer(self, request: Request, content: dict) -> Answer:
        if request.headers.get("accept") == "application/json":
            return Answer(200, content)
        return Answer(200, urlencode(content), {"content-type": "application/x-www-form-urlencoded; charset=utf-8"})

    def emails(self, granted: Granted) -> Answer:
        if "user:email" not in granted.request.get("scope", ""):
            return Answer(404, {"message": "Not Found"})
        other = {"email": f"other-{granted.email}", "primary": False, "verified": True, "visibility": None}
        return Answer(200, [other, {"email": granted.email, "primary": True, "verified": True, "visibility": "private"}])


def proves(verifier: str | None, challenge: str | None) -> bool:
    """RFC 7636, section 4.6. A client that sent no challenge has nothing to prove."""
    if challenge is None:
        return verifier is None
    digest = hashlib.sha256((verifier or "").encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == challenge
