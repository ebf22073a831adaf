"""Errors as the OpenAI API words them: which status, type and code each of ours has."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from multitune.core.errors import InputError, MultituneError, StorageError
from multitune.serving.adapters import UnknownAdapterError
from multitune.serving.grammars import GrammarError
from multitune.serving.learning.store import FeedbackLimitError, FeedbackTwiceError, UnknownRequestError
from multitune.serving.protocol import ErrorBody, ErrorDetail
from multitune.serving.reception import FaultyAdapterError
from multitune.serving.requests import AdapterUnavailableError, OverloadedError
from multitune.serving.served_run import UnknownModelError
from multitune.serving.upstream_client import UpstreamError, UpstreamRefusalError, UpstreamTimeoutError

RETRY_AFTER = 1  # seconds
KINDS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", None),
    404: ("invalid_request_error", "not_found"),
    405: ("invalid_request_error", "method_not_allowed"),
    409: ("invalid_request_error", "conflict"),
    413: ("invalid_request_error", "request_too_large"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    500: ("server_error", None),
    502: ("server_error", "upstream_failed"),
    503: ("server_error", "not_ready"),
    504: ("server_error", "upstream_timeout"),
}


def error_body(status: int, message: str, param: str | None = None, code: str | None = None) -> ErrorBody:
    """The body of an answer that is no success."""
    kind, usual = KINDS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    return ErrorBody(error=ErrorDetail(message=message, type=kind, param=param, code=code or usual))


def error_response(
    status: int, message: str, param: str | None = None, code: str | None = None, headers: Mapping[str, str] = {}
) -> JSONResponse:
    """The whole answer."""
    return JSONResponse(error_body(status, message, param, code).plain(), status, dict(headers))


def status_of(error: Exception) -> int:
    """The status that an error is answered with."""
    if isinstance(error, OverloadedError | FeedbackLimitError):
        return 429
    if isinstance(error, FeedbackTwiceError):
        return 409
    if isinstance(error, UnknownModelError | UnknownAdapterError | UnknownRequestError):
        return 404
    if isinstance(error, FaultyAdapterError | AdapterUnavailableError | StorageError):
        return 503
    if isinstance(error, UpstreamError):
        return 504 if isinstance(error, UpstreamTimeoutError) else 502
    if isinstance(error, UpstreamRefusalError):
        return error.status
    return 400 if isinstance(error, InputError) else 500


async def answer_product_error(_: Request, error: Exception) -> JSONResponse:
    """What multitune raised."""
    assert isinstance(error, MultituneError)
    status = status_of(error)
    headers = {"Retry-After": str(RETRY_AFTER)} if status in (429, 503) else {}
    if isinstance(error, UnknownModelError):
        return error_response(404, str(error), "model", "model_not_found")
    if isinstance(error, UpstreamRefusalError):
        return error_response(status, str(error), error.param, error.code, headers)
    return error_response(
        status, str(error), error.field if isinstance(error, GrammarError) else None, headers=headers
    )


async def answer_invalid(_: Request, error: Exception) -> JSONResponse:
    """A body that is not what the route takes."""
    assert isinstance(error, RequestValidationError)
    first: Any = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return error_response(400, f"{place or 'body'}: {first['msg']}", place or None)


async def answer_http(_: Request, error: Exception) -> JSONResponse:
    """No such route, or another method."""
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, str(error.detail), headers=error.headers or {})


async def answer_unexpected(_: Request, error: Exception) -> JSONResponse:
    """Our own bug; what it was stands in the log."""
    return error_response(500, f"internal error ({type(error).__name__}); the server's log says more")
