"""The server of `haltline serve` with nothing behind it: it reads the body and answers a constant.

What `bench gate` measures beside it.

`python -m bench.bare_gate BYTES` says on standard error where it listens, and ends with SIGTERM.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web


async def serve(size: int) -> None:
    body = b'{"decision": "allow", "reasons": ["' + b"x" * max(0, size - 38) + b'"]}'

    async def check(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/check", check)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    print(f"answering at http://{host}:{port}/v1/check", file=sys.stderr, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
