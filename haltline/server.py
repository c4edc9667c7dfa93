"""The gate over HTTP: `POST /v1/check`, for whoever has a token; `/healthz` and `/readyz` for everybody."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from deploy.change import change_from_object
from deploy.errors import DeployError
from deploy.gate import Request, answer_to_object
from deploy.plans import plan_from_object
from haltline.cli.options import now_ms
from haltline.errors import HaltlineError, InvalidSettings
from haltline.serving import Served

#: Bytes; a change that is larger is none.
LARGEST = 1024 * 1024
SHORTEST_TOKEN = 16
SERVED = web.AppKey("served", Served)


class Tokens:
    """Who may ask: the digests of their tokens, so that no token stays in memory."""

    def __init__(self, text: str, source: str) -> None:
        """`text` has one token a line, a name before it where wanted; `#` begins a comment.

        Raises:
            InvalidSettings: no token, or one that is too short.
        """
        self._digests: list[bytes] = []
        for number, line in enumerate(text.splitlines(), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            if len(words[-1]) < SHORTEST_TOKEN:
                raise InvalidSettings(f"{source}:{number}: a token has at least {SHORTEST_TOKEN} characters")
            self._digests.append(_digest(words[-1]))
        if not self._digests:
            raise InvalidSettings(f"{source} has no token; write one a line, of at least {SHORTEST_TOKEN} characters")

    @classmethod
    def read(cls, path: Path | None) -> Tokens:
        if path is None:
            raise InvalidSettings(
                "a server needs tokens: name a file with one a line by --token-file or HALTLINE_TOKEN_FILE"
            )
        try:
            return cls(path.read_text("utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise InvalidSettings(f"{path}: the tokens cannot be read: {reason}") from None

    def allow(self, header: str) -> bool:
        """Whether an `Authorization` header carries one of them; every one is compared, so that time tells nothing."""
        scheme, _, token = header.partition(" ")
        digest = _digest(token.strip())
        found = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(found) and scheme.casefold() == "bearer"


def application(served: Served, tokens: Tokens) -> web.Application:
    """The routes; every answer is JSON, also an error's."""
    app = web.Application(client_max_size=LARGEST)
    app[SERVED] = served

    async def check(request: web.Request) -> web.Response:
        if not tokens.allow(request.headers.get("Authorization", "")):
            return _error(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        try:
            asked = request_from(await request.read(), served.settings.environment)
        except web.HTTPRequestEntityTooLarge:
            return _error(413, f"a change has at most {LARGEST} bytes; send what was read from a plan, not the plan")
        except DeployError as error:
            return _error(400, str(error))
        try:
            answer = served.answer(asked)
        except HaltlineError as error:
            return _error(503, str(error))
        return _json(200, answer_to_object(answer))

    async def healthz(_request: web.Request) -> web.Response:
        return _json(200, {"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        if served.fresh:
            return _json(200, {"status": "ok", "policy": served.rules.id})
        return _json(503, {"status": "away", "why": served.why_not})

    async def not_there(request: web.Request) -> web.Response:
        return _error(404, f"nothing at {request.path[:200]}; ask POST /v1/check, GET /healthz or GET /readyz")

    async def not_so(request: web.Request) -> web.Response:
        return _error(405, f"{request.path} does not take {request.method}; ask POST /v1/check", {"Allow": "POST"})

    app.router.add_post("/v1/check", check)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_route("*", "/v1/check", not_so)
    app.router.add_route("*", "/{path:.*}", not_there)
    return app


def request_from(body: bytes, environment: str = "") -> Request:
    """Read what is asked: a change as `haltline.changes` has it, or `{"change": …, "plan": …, "labels": …}`.

    A change that does not say where it goes goes to this `environment`, as for `haltline check`.

    Raises:
        DeployError: it is neither; the text names the field.
    """
    try:
        record: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeployError(f"the body is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise DeployError("the body is a JSON object: a change, or `change` with `plan` and `labels`")
    plan = None
    own: dict[str, tuple[str, ...]] = {}
    if isinstance(record.get("change"), dict):
        plan = plan_from_object(record["plan"]) if record.get("plan") is not None else None
        labels = record.get("labels") or {}
        if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
            raise DeployError("`labels` is an object of text")
        own = {name: (value,) for name, value in labels.items()}
        record = record["change"]
    absent = {"id": "-", "time": now_ms(), "environment": environment}
    change = change_from_object(absent | {name: value for name, value in record.items() if value not in (None, "")})
    return Request(change=change, plan=plan, labels=own)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return _json(status, {"error": text}, headers)


def _json(status: int, record: object, headers: dict[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(record)
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)
