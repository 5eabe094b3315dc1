"""What a REST request that fails is answered with."""

from __future__ import annotations

import json

from starlette.responses import Response

from serving.failures import Failure


def refusal(failure: Failure) -> Response:
    """As TensorFlow Serving writes it."""
    body = json.dumps({"error": failure.message}, indent=4)
    return Response(body, failure.code.http, media_type="application/json")
