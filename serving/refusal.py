"""What a REST request that fails is answered with."""

from __future__ import annotations

import json

from starlette.responses import Response

from serving.failures import Code, Failure


def refusal(failure: Failure) -> Response:
    """As TensorFlow Serving writes it."""
    body = json.dumps({"error": failure.message}, indent=4)
    headers = {"WWW-Authenticate": "Bearer"} if failure.code is Code.UNAUTHENTICATED else None
    return Response(body, failure.code.http, headers, media_type="application/json")
