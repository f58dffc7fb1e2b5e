"""Who may ask for what: the routes, the queue, and the log."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response, Security
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer
from torch import Tensor

from privmed.client import PATH
from privmed.server.batching import Answer, Batcher
from privmed.server.metrics import Metrics
from privmed.server.photos import TYPE, Refused, decode, encode, read_photo
from privmed.server.settings import ServerSettings
from privmed.tokens import Gate

ABOUT = "Send a photo as PNG and get it back developed, as a PNG of the same size."
CODERS = 2  # threads that decode and encode
SHOWN = [Security(HTTPBearer(auto_error=False))]  # in the description; what checks tokens is Service.check
UNTRACED = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}  # FastAPI would tell collectors of requests


class Service:
    """What requests share: the analyzer's batches, the queue, counts and a log of sizes and times.

    Args:
        analyze: from stegos (B, 3, H, W) to responses of the same shape.
        settings: limits.
        gate: who may ask.
        log: gets one line a request.
        version: told in ``X-Model-Version``, so that clients notice other weights than theirs.
    """

    def __init__(
        self,
        analyze: Callable[[Tensor], Tensor],
        settings: ServerSettings,
        gate: Gate,
        log: Callable[[str], None],
        version: str = "",
    ) -> None:
        self.settings, self.gate, self.log, self.version = settings, gate, log, version
        self.metrics = Metrics()
        self._analyze = analyze
        self._pace = 0.1  # seconds an image, lately

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Threads that work, for as long as the server runs; what was taken is finished."""
        self.batcher = Batcher(self._analyze, self.settings)
        self.coders = ThreadPoolExecutor(CODERS, "privmed-coder")
        try:
            yield
        finally:
            await asyncio.to_thread(self.batcher.close)
            self.coders.shutdown()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue.

        Raises:
            Refused: when there is none left; says after how many seconds there may be.
        """
        if self.metrics.at_work >= self.settings.queue:
            seconds = min(60, max(1, math.ceil(self._pace * self.metrics.at_work)))
            raise Refused(429, "There are too many requests at the moment.", {"Retry-After": str(seconds)})
        self.metrics.at_work += 1
        try:
            yield
        finally:
            self.metrics.at_work -= 1

    def check(self, request: Request) -> None:
        """Refuse whoever has no token."""
        if not self.gate.admits(request.headers.get("authorization")):
            raise Refused(401, "A valid token is needed.", {"WWW-Authenticate": "Bearer"})

    async def develop(self, request: Request) -> Response:
        """Answer to one photograph."""
        self.check(request)
        loop, notes = asyncio.get_running_loop(), request.scope["notes"]
        with self.place():
            data = await read_photo(request.headers, request.receive, self.settings)
            pixels = await loop.run_in_executor(self.coders, decode, data)
            notes["pixels"] = pixels.shape[0] * pixels.shape[1]
            answer = await asyncio.wrap_future(self.batcher.submit(pixels))
            self._note(answer, notes)
            content = await loop.run_in_executor(self.coders, encode, answer.pixels)
        return Response(content, media_type=TYPE, headers={"X-Model-Version": self.version} if self.version else {})

    def _note(self, answer: Answer, notes: dict[str, Any]) -> None:
        self.metrics.add("wait_seconds", answer.waited)
        self.metrics.add("batch_seconds", answer.computed)
        self.metrics.add("batch_images", answer.batch)
        self._pace = 0.8 * self._pace + 0.2 * answer.computed / answer.batch
        notes |= {"waited": f"{answer.waited:.3f}", "computed": f"{answer.computed:.3f}", "batch": answer.batch}


def make_app(service: Service) -> FastAPI:
    """The application: photographs, health, readiness, metrics, and a page that describes them."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="Photo service",
        version="1",
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        telemetry=UNTRACED,
    )
    app.add_middleware(Noted, service=service)

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"detail": error.why}, error.status, error.headers)

    @app.post(
        PATH,
        summary="Develop a photo",
        response_class=Response,
        responses=RESPONSES,
        openapi_extra=BODY,
        dependencies=SHOWN,
    )
    async def photos(request: Request) -> Response:
        return await service.develop(request)

    @app.get("/healthz", summary="Whether the server runs", response_class=PlainTextResponse)
    async def health() -> str:
        return "ok\n"

    @app.get("/readyz", summary="Whether photos are taken", response_class=PlainTextResponse)
    async def ready() -> Response:
        return PlainTextResponse("ok\n") if service.batcher.ready else PlainTextResponse("stopping\n", 503)

    @app.get("/metrics", summary="Counts, for Prometheus", response_class=PlainTextResponse, dependencies=SHOWN)
    async def metrics(request: Request) -> Response:
        service.check(request)
        return PlainTextResponse(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()))

    return app


class Noted:
    """Count every request, log its sizes and times, and keep errors that nobody thought of from being told in detail."""

    def __init__(self, app: Any, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        notes: dict[str, Any] = {"status": 0, "in": 0, "out": 0}
        scope["notes"] = notes
        started = time.monotonic()

        async def counted_receive() -> Any:
            message = await receive()
            notes["in"] += len(message.get("body", b""))
            return message

        async def counted_send(message: Any) -> None:
            if message["type"] == "http.response.start":
                notes["status"] = message["status"]
            notes["out"] += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, counted_receive, counted_send)
        except Exception as error:  # its text may hold what nobody shall log
            notes["error"] = type(error).__name__
            if not notes["status"]:
                await JSONResponse({"detail": "Something went wrong."}, 500)(scope, receive, counted_send)
        finally:
            self._write(notes, time.monotonic() - started)

    def _write(self, notes: dict[str, Any], seconds: float) -> None:
        counts = self.service.metrics
        counts.requests[notes["status"]] += 1
        counts.bytes["in"] += notes["in"]
        counts.bytes["out"] += notes["out"]
        counts.add("request_seconds", seconds)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.service.log(" ".join([stamp, *(f"{k}={v}" for k, v in notes.items()), f"seconds={seconds:.3f}"]))


def page(schema: dict[str, Any]) -> str:
    """The description of the service as one page that asks nobody for anything."""
    import jinja2

    template = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True).from_string(template).render(schema=schema)


BODY = {"requestBody": {"required": True, "content": {TYPE: {"schema": {"type": "string", "format": "binary"}}}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The developed photo.", "content": {TYPE: {}}},
    400: {"description": "The request was cut off."},
    401: {"description": "A valid token is needed."},
    408: {"description": "The request took too long to arrive."},
    413: {"description": "Too many bytes, or too many pixels."},
    415: {"description": "No PNG."},
    422: {"description": "A PNG that is damaged, too small, or not of 8 bits a channel."},
    429: {"description": "Too many requests; Retry-After says when to come back."},
}
