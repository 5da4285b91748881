"""LinkedIn as it is: OpenID Connect with what it does not take and does otherwise than others.

It refuses PKCE, repeats no nonce, takes the client's secret in the body alone, writes `email_verified` of its ID tokens as a
string and `locale` of its userinfo as an object.
"""

import base64
import json
import time

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from providers.stand_in import CLIENT_ID, NAME, Answer, Granted, Request, StandIn, is_client

KID = "d929668a-bab1-4c69-9598-4373149723ff"


class LinkedIn(StandIn):
    name = "LinkedIn"
    cancelled = "user_cancelled_authorize"
    authorization_path = "/oauth/v2/authorization"
    # Whether discovery says how clients have to authenticate.
    lists_auth_methods = True
    # Whether the person has an address to tell.
    tells_email = True

    def __init__(self):
        super().__init__()
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def issuer(self) -> str:
        return f"{self.base}/oauth"

    def refusal(self, query: dict[str, str]) -> str | None:
        return "invalid_request" if "code_challenge" in query else super().refusal(query)

    def route(self, request: Request) -> Answer:
        match request.path:
            case "/oauth/.well-known/openid-configuration":
                return Answer(200, self.discovery())
            case "/oauth/openid/jwks":
                return Answer(200, {"keys": [self.public_key()]})
            case "/oauth/v2/accessToken":
                return self.token(request)
            case "/v2/userinfo" if granted := self.owner(request):
                return Answer(200, self.person(granted, email_verified=True) | {"locale": {"country": "US", "language": "en"}})
            case "/v2/userinfo":
                return Answer(401, {"status": 401, "serviceErrorCode": 65600, "code": "INVALID_ACCESS_TOKEN"})
        return Answer(404)

    def discovery(self) -> dict:
        methods = {"token_endpoint_auth_methods_supported": ["client_secret_post"]} if self.lists_auth_methods else {}
        return methods | {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.base}{self.authorization_path}",
            "token_endpoint": f"{self.base}/oauth/v2/accessToken",
            "userinfo_endpoint": f"{self.base}/v2/userinfo",
            "jwks_uri": f"{self.base}/oauth/openid/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "profile", "email"],
            "claims_supported": ["iss", "aud", "iat", "exp", "sub", "name", "given_name", "family_name", "picture", "email", "email_verified", "locale"],
        }

    def token(self, request: Request) -> Answer:
        if not is_client(request.form) or "authorization" in request.headers:
            return Answer(401, {"error": "invalid_client", "error_description": "Client authentication failed"})
        redeemed = None if "code_verifier" in request.form else self.redeem(request.form)
        if not redeemed:
            return Answer(400, {"error": "invalid_request", "error_description": "Unable to retrieve access token"})
        token, granted = redeemed
        answer = {"access_token": token, "expires_in": 5183999, "scope": "email,openid,profile", "token_type": "Bearer"}
        return Answer(200, answer | {"id_token": self.id_token(granted)})

    def person(self, granted: Granted, email_verified: bool | str) -> dict:
        given, family = NAME.split()
        email = {"email": granted.email, "email_verified": email_verified} if self.tells_email else {}
        return email | {"sub": f"sub-{granted.email}", "name": NAME, "given_name": given, "family_name": family}

    def id_token(self, granted: Granted) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 3600, "locale": "en_US"}
        claims |= self.person(granted, email_verified="true")
        signed = f"{encode({'alg': 'RS256', 'kid': KID, 'typ': 'JWT'})}.{encode(claims)}"
        return f"{signed}.{base64url(self.key.sign(signed.encode(), padding.PKCS1v15(), SHA256()))}"

    def public_key(self) -> dict:
        numbers = self.key.public_key().public_numbers()
        n, e = (base64url(number.to_bytes((number.bit_length() + 7) // 8)) for number in (numbers.n, numbers.e))
        return {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": KID, "n": n, "e": e}


def base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def encode(value: dict) -> str:
    return base64url(json.dumps(value).encode())
