"""The dashboard's pages, as a Starlette application."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from pipelines.dashboard import guard, models
from pipelines.dashboard.endpoints import Answer, Endpoints
from pipelines.dashboard.exporter import StoreCollector
from pipelines.dashboard.reader import Reader
from pipelines.dashboard.trend import headline_metric, trend
from serving.errors import InputError

HERE = Path(__file__).parent


def application(reader: Reader, endpoints: Endpoints, hosts: list[str]) -> Starlette:
    """The pages of a store; `hosts` are the Host headers that are answered (`*` for all)."""
    pages = _Pages(reader, endpoints)
    return Starlette(
        routes=[
            Route("/", pages.overview),
            Route("/models/{name}", pages.model),
            Route("/models/{name}/try", pages.ask, methods=["POST"]),
            Route("/models/{name}/history", pages.history),
            Route("/runs/{run}/report", pages.report),
            Route("/metrics", pages.metrics),
            Route("/style.css", _style),
            Route("/healthz", _alive),
        ],
        # A name that resolves to us all of a sudden (DNS rebinding) must not read our pages.
        middleware=[
            Middleware(guard.Headers),
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        ],
        exception_handlers={
            InputError: pages.store_away,  # type: ignore[dict-item]  # the key gives the type
            HTTPException: pages.refused,  # type: ignore[dict-item]  # likewise
        },
    )


class _Pages:
    def __init__(self, reader: Reader, endpoints: Endpoints) -> None:
        self._reader = reader
        self._endpoints = endpoints
        self._registry = CollectorRegistry()
        self._registry.register(StoreCollector(reader))
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {"ago": _ago, "number": _number, "path": _path, "when": _when}
        self._environment.globals |= {"trend": trend, "headline_metric": headline_metric}

    def overview(self, request: Request) -> Response:
        page = models.models(self._reader, _page_number(request))
        with ThreadPoolExecutor(8) as pool:  # each waits for an endpoint
            states = list(pool.map(lambda m: self._endpoints.state(m.name), page.items))
        return self._page("overview.html.j2", page=page, states=states)

    def model(self, request: Request) -> Response:
        return self._model(request, request.path_params["name"], "", None)

    async def ask(self, request: Request) -> Response:
        name = request.path_params["name"]
        text = (await guard.form_field(request, "text")).strip()

        def answered() -> Response:
            answer = (
                self._endpoints.ask(name, text) if text else Answer(error="Write a text first.")
            )
            return self._model(request, name, text, answer)

        return await run_in_threadpool(answered)

    def history(self, request: Request) -> Response:
        name = request.path_params["name"]
        page = models.history(self._reader, name, _page_number(request))
        if not page.total:
            raise HTTPException(404, "This model has no promotions in the store.")
        return self._page("history.html.j2", name=name, page=page)

    def report(self, request: Request) -> Response:
        run = request.path_params["run"]
        known = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", run)
        content = self._reader.fresh(f"runs/{run}/report.html") if known else None
        if content is None:
            raise HTTPException(404, "The store has no report of this run.")
        return Response(
            content,
            media_type="text/html; charset=utf-8",
            headers={"content-security-policy": guard.REPORT_POLICY},
        )

    def metrics(self, request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    def store_away(self, request: Request, error: InputError) -> Response:
        page = self._page("message.html.j2", title="The store does not answer", why=str(error))
        page.status_code = 503
        page.headers["retry-after"] = "5"
        return page

    def refused(self, request: Request, error: HTTPException) -> Response:
        titles = {404: "Nothing here", 405: "Not allowed here", 413: "Too long"}
        title = titles.get(error.status_code, "Refused")
        page = self._page("message.html.j2", title=title, why=error.detail)
        page.status_code = error.status_code
        page.headers.update(error.headers or {})
        return page

    def _model(self, request: Request, name: str, text: str, answer: Answer | None) -> Response:
        found = models.model(self._reader, name)
        if found is None:
            raise HTTPException(404, "The store has no model of this name.")
        return self._page(
            "model.html.j2",
            model=found,
            candidates=models.candidates(self._reader, name, _page_number(request)),
            history=models.history(self._reader, name, 1, models.EVENTS_ON_THE_MODEL),
            state=self._endpoints.state(name),
            text=text,
            answer=answer,
        )

    def _page(self, template: str, **what: Any) -> HTMLResponse:
        context = {"store": self._reader.address, "now": datetime.now(UTC), **what}
        return HTMLResponse(self._environment.get_template(template).render(context))


def _style(request: Request) -> Response:
    return FileResponse(
        HERE / "style.css", media_type="text/css", headers={"cache-control": "max-age=60"}
    )


def _alive(request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _page_number(request: Request) -> int:
    given = request.query_params.get("page", "1")
    return int(given) if re.fullmatch(r"[0-9]{1,6}", given) else 1


def _number(value: float | None, digits: int = 4) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}"


def _path(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def _moment(at: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _when(at: str) -> str:
    moment = _moment(at)
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if moment else at


def _ago(at: str, now: datetime) -> str:
    moment = _moment(at)
    if moment is None:
        return ""
    seconds = max((now - moment).total_seconds(), 0)
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
