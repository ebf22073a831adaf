"""Routes about the router: where a text would go, feedback, what was learned, proposals, and the way back."""

import asyncio
import json
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import Field, model_validator

from multitune.core.results.base import Record
from multitune.serving.decisions import Route
from multitune.serving.learning.learner import LearningState
from multitune.serving.learning.proposals import Proposal
from multitune.serving.protocol import Body
from multitune.serving.reception import Reception

PREFIXES = ("chatcmpl-", "cmpl-")  # of the ids of answers, before the request's own
Number = Annotated[int, Field(ge=0, lt=2**31)]


class FeedbackRequest(Body):
    """POST /v1/feedback: whether a request went where it should have, or which task it belongs to."""

    request_id: Annotated[str, Field(min_length=1, max_length=128)]
    task: str | None = None  # of the run; `base` for none of them
    correct: bool | None = None

    @model_validator(mode="after")
    def _one(self) -> "FeedbackRequest":
        if (self.task is None) == (self.correct is None):
            raise ValueError("give one of task and correct")
        return self


class FeedbackAnswer(Record):
    """Feedback is on disk."""

    accepted: bool = True


class RouteRequest(Body):
    """POST /v1/route: a text to find the adapter of, without an answer."""

    text: Annotated[str, Field(min_length=1)]


class RouteAnswer(Record):
    """Where a text would go."""

    route: Route
    probabilities: dict[str, float]  # task -> calibrated


class RollbackRequest(Body):
    """POST /v1/routing/rollback."""

    version: Number


class Proposals(Record):
    """GET /v1/routing/proposals."""

    proposals: tuple[Proposal, ...]


def learning_routes(reception: Reception, responses: dict[int | str, dict[str, Any]]) -> APIRouter:
    """The routes, for the app of a served run.

    Args:
        reception: of its requests.
        responses: what answers that are no success look like.
    """
    router, learner = APIRouter(responses=responses), reception.served.learner

    @router.post("/v1/feedback")
    async def feedback(body: FeedbackRequest, request: Request) -> FeedbackAnswer:
        """Say whether an answer to `auto` came from the right adapter, or which task the request belongs to."""
        client = f"{request.headers.get('authorization', '')} {request.client.host if request.client else ''}"
        name = body.request_id
        for prefix in PREFIXES:
            name = name.removeprefix(prefix)
        await asyncio.wrap_future(learner.feedback(name, client, body.task, body.correct))
        return FeedbackAnswer()

    @router.post("/v1/route")
    async def route(body: RouteRequest) -> RouteAnswer:
        """Where the router would send a text, with the probability of each task; nothing is kept of it."""
        found, probabilities = await reception.off_loop(lambda: reception.served.probe(body.text))
        return RouteAnswer(route=found, probabilities=probabilities)

    @router.get("/v1/routing")
    async def state() -> LearningState:
        """What was learned from use."""
        return await asyncio.wrap_future(learner.state())

    @router.get("/v1/routing/proposals")
    async def proposals() -> Proposals:
        """Requests that look alike and fit no task."""
        return Proposals(proposals=tuple(await asyncio.wrap_future(learner.proposals())))

    @router.get("/v1/routing/proposals/{number}.jsonl", response_class=StreamingResponse)
    async def texts(number: Number) -> StreamingResponse:
        """The texts of a proposal, one JSON object per line, ready to be labelled for `multitune add`."""
        requests = await asyncio.wrap_future(learner.texts_of(number))

        def lines() -> Iterator[str]:
            for one in requests:
                yield json.dumps({"text": one.text, "label": None, "request_id": one.id}, ensure_ascii=False) + "\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    @router.post("/v1/routing/rollback")
    async def rollback(body: RollbackRequest) -> LearningState:
        """Let an earlier version route, 0 for the run's own router; feedback so far is learned from no more."""
        await asyncio.wrap_future(learner.roll_back(body.version))
        return await state()

    return router
