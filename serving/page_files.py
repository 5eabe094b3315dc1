"""The player page, as files that a browser may keep but asks for anew: an update is seen at once."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

FOLDER = Path(__file__).with_name("page")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_routes() -> list[Route]:
    """`/` and the files that it needs."""
    names = sorted(path.name for path in FOLDER.iterdir() if path.name != "index.html")
    return [_route("/", "index.html"), *(_route(f"/page/{name}", name) for name in names)]


def _route(path: str, name: str) -> Route:
    async def file(request: Request) -> FileResponse:
        return FileResponse(FOLDER / name, headers=HEADERS)

    return Route(path, file)
