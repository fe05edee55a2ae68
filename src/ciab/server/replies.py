"""Answers made from models in one go: Pydantic writes the JSON, the framework passes it on."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Response
from pydantic import BaseModel, TypeAdapter

from ciab.schema.errors import ErrorBody

REFUSALS: dict[int | str, dict[str, Any]] = {
    422: {"model": ErrorBody, "description": "The request is not valid, or can never be granted"},
    "4XX": {"model": ErrorBody, "description": "The caller must act"},
    "5XX": {"model": ErrorBody, "description": "The machine, its provider or the server must act"},
}
"""For the OpenAPI document: the body of every answer that is not a success."""

_LIST: TypeAdapter[Sequence[Any]] = TypeAdapter(Sequence[Any])


def reply(model: BaseModel, status: int = 200) -> Response:
    """One value."""
    return Response(model.__pydantic_serializer__.to_json(model), status, media_type="application/json")


def reply_list(models: Sequence[BaseModel], headers: Mapping[str, str] | None = None) -> Response:
    """Several values."""
    return Response(_LIST.dump_json(models), 200, headers, media_type="application/json")
