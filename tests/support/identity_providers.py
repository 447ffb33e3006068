"""Who vouches for callers, elsewhere: LiteLLM's /key/info, an OpenID Connect issuer, and Open WebUI's signed header."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from aiohttp import ClientSession, web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())


class Elsewhere:
    """LiteLLM's /key/info, as its proxy answers it, and an OpenID Connect issuer, in one server."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.published: list[dict[str, Any]] = [public(KEY, "first"), public(CURVE, "curve")]
        self.fetched = 0
        self.failing = False

    async def __aenter__(self) -> Elsewhere:
        self._http = ClientSession()
        app = web.Application()
        app.router.add_get("/key/info", self._info)
        app.router.add_get("/realm/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/realm/keys", self._jwks)
        app.router.add_route("*", "/v1/{rest:.*}", self._model)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.root = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._http.close()

    @property
    def issuer(self) -> str:
        return f"{self.root}/realm"

    async def _info(self, request: web.Request) -> web.Response:
        assert not request.query_string
        key = request.headers["authorization"].removeprefix("Bearer ")
        self.asked.append(key)
        if self.failing:
            return web.Response(status=500, text="no database")
        if key not in self.keys:
            error = {"message": f"Authentication Error, Invalid proxy server token passed {key}", "code": "401"}
            return web.json_response({"error": error}, status=401)
        return web.json_response({"key": "hash-of-it", "info": self.keys[key]})

    async def _discovery(self, _: web.Request) -> web.Response:
        return web.json_response({"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"})

    async def _jwks(self, _: web.Request) -> web.Response:
        self.fetched += 1
        return web.json_response({"keys": self.published}, status=500 if self.failing else 200)

    async def _model(self, request: web.Request) -> web.StreamResponse:
        """Passes the request on."""
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in ("host", "content-length")
        }
        asking = self._http.request(
            request.method, f"{self.model}{request.path}", data=request.content, headers=headers
        )
        async with asking as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)

    model = ""

    def token(self, *, key: Any = KEY, kid: str | None = "first", algorithm: str = "RS256", **claims: Any) -> str:
        """A token as the issuer makes them; a claim that is None is left out."""
        now = int(time.time())
        whole = {
            "iss": self.issuer,
            "aud": "interlock",
            "sub": "u-1",
            "exp": now + 60,
            "iat": now,
            "name": "Ada",
            "email": "ada@example.com",
            "realm_access": {"roles": ["offline", "staff"]},
            **claims,
        }
        headers = {"kid": kid} if kid else {}
        return jwt.encode({k: v for k, v in whole.items() if v is not None}, key, algorithm, headers)


def public(key: Any, kid: str) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    return {**json.loads(kind.to_jwk(key.public_key())), "kid": kid, "use": "sig", "alg": algorithm}


def signed(name: str, role: str, secret: str, **changes: Any) -> dict[str, str]:
    """The header in which Open WebUI says for whom it asks."""
    claims = {
        "sub": f"id-of-{name}",
        "email": f"{name}@example.org",
        "name": name,
        "role": role,
        "iss": "open-webui",
        "iat": int(time.time()),
        "exp": int(time.time()) + 300,
        **changes,
    }
    return {"x-openwebui-user-jwt": jwt.encode(claims, secret, algorithm="HS256")}
