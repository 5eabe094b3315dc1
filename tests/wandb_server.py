"""A W&B server of a few lines, on this machine: enough for a run to be opened, resumed, logged and finished."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VIEWER = {"id": "u", "entity": "ada", "username": "ada", "flags": "{}", "teams": {"edges": []}}
SERVER = {"cliVersionInfo": {"max_cli_version": "9.99.0"}, "latestLocalVersionInfo": None, "features": []}
PROJECT = {"id": "p", "name": "sonicrnn", "entity": {"id": "e", "name": "ada"}}


class WandbServer:
    """Runs inside a `with` block.

    Attributes:
        url: its address.
        history: the rows of each run, by its id, as JSON text in the order of the server's file.
        views: the dashboards that were saved.
        asked: the names of all queries.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[str]] = {}
        self.views: list[dict[str, Any]] = []
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self.reply({})

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                self.reply({})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                if self.path.startswith("/graphql"):
                    asked = json.loads(body)
                    self.reply({"data": outer.answer(asked["query"], asked.get("variables") or {})})
                else:
                    if self.path.endswith("/file_stream"):
                        outer.stream(self.path.split("/")[-2], json.loads(body))
                    self.reply({})

            def reply(self, value: object) -> None:
                text = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> WandbServer:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def steps(self, run: str) -> list[int]:
        return [json.loads(row)["_step"] for row in self.history[run]]

    def stream(self, run: str, body: dict[str, Any]) -> None:
        """Lines for the files of a run, each file's from an offset on."""
        if part := (body.get("files") or {}).get("wandb-history.jsonl"):
            self.history[run][part["offset"] :] = part["content"]

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        named = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = named[1] if named else ""
        self.asked.append(name)
        if name == "UpsertBucket":
            run, new = variables["name"], variables["name"] not in self.history
            rows = self.history.setdefault(run, [])
            bucket = {"id": f"x{run}", "name": run, "displayName": run, "config": "{}", "project": PROJECT}
            return {"upsertBucket": {"bucket": bucket | {"historyLineCount": len(rows)}, "inserted": new}}
        if name == "RunResumeStatus":
            rows = self.history.get(variables["name"])
            known = None if rows is None else self.resume_status(variables["name"], rows)
            return {"model": PROJECT | {"bucket": known}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/up/{file}"} for file in variables["files"]]
            return {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": files}}
        if name == "UpsertView2":
            self.views.append(variables)
            return {"upsertView": {"view": {"id": "v", "name": variables["name"]}, "inserted": True}}
        return {"viewer": VIEWER, "serverInfo": SERVER, "project": {"run": {"stopped": False}}}

    def resume_status(self, run: str, rows: list[str]) -> dict[str, Any]:
        return {
            "id": f"x{run}",
            "name": run,
            "displayName": run,
            "summaryMetrics": "{}",
            "logLineCount": 0,
            "historyLineCount": len(rows),
            "eventsLineCount": 0,
            "historyTail": json.dumps(rows[-1:]),
            "eventsTail": "[]",
            "config": "{}",
            "tags": [],
            "wandbConfig": '{"t": 1}',
        }
