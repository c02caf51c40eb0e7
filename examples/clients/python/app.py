"""Two routes that need a scope, one that needs a credential alone, and one open to all.

Settings come from the environment: AUTHORITY_URL, AUTHORITY_CREDENTIAL_FILE,
AUTHORITY_CA_FILE (for https, where the system's authorities are not meant), LISTEN.
"""

import asyncio
import contextlib
import os
import pathlib
import socket

import uvicorn
from fastapi import APIRouter, FastAPI, Request

from introspect import Introspector


def read(variable: str) -> bytes | None:
    path = os.environ.get(variable)
    return pathlib.Path(path).read_bytes() if path else None


def application() -> FastAPI:
    credential = (read("AUTHORITY_CREDENTIAL_FILE") or b"").decode().strip()
    introspector = Introspector(
        os.environ["AUTHORITY_URL"], credential, root_certificates=read("AUTHORITY_CA_FILE")
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI):
        yield
        await introspector.close()

    app = FastAPI(lifespan=lifespan)

    @app.get("/healthz")
    async def health():
        return {"status": "ok"}

    anybody = APIRouter(route_class=introspector.route())
    readers = APIRouter(route_class=introspector.route("trading:read"))
    writers = APIRouter(route_class=introspector.route("signals:write"))

    @anybody.get("/api/v1/me")
    async def me(request: Request):
        subject = request.state.subject
        return {"account": subject.account_id, "token": subject.token_id, "scopes": list(subject.scopes)}

    @readers.get("/api/v1/trades")
    async def trades(request: Request):
        return {"account": request.state.subject.account_id, "trades": []}

    @writers.post("/api/v1/signals/ingest")
    async def ingest(request: Request, signal: dict):
        return {"account": request.state.subject.account_id, "accepted": len(signal)}

    for router in anybody, readers, writers:
        app.include_router(router)
    return app


async def serve() -> None:
    host, _, port = os.environ.get("LISTEN", "127.0.0.1:8000").rpartition(":")
    listener = socket.create_server((host, int(port)))
    # Whoever is in front of this service would be named here; uvicorn otherwise
    # believes every process of this machine what the client's address is.
    config = uvicorn.Config(application(), proxy_headers=False, log_level="warning", access_log=False)
    print("listening on {}:{}".format(*listener.getsockname()), flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(serve())
