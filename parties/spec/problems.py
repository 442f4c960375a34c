"""What is wrong with a file, and where, in words."""

import difflib
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mpc.errors import ComityError
from protocols.tables import Kind as KINDS

SHOWN, LONGEST = 100, 800
"""How many problems are shown, and of each how many characters."""


@dataclass(frozen=True)
class Problem:
    """`place` is a key path, inside SQL also line and column."""

    place: str
    message: str

    def __str__(self) -> str:
        return _plain(f"{self.place}: {self.message}" if self.place else self.message)


class SpecError(ComityError):
    """All problems of a spec."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        more = [f"... and {len(problems) - SHOWN:,} more"] if len(problems) > SHOWN else []
        super().__init__("\n".join([*map(str, problems[:SHOWN]), *more]))
        self.problems = tuple(problems)


def _plain(text: str) -> str:
    """The text on one line, without what a terminal would obey: parts of it are from a file that others wrote."""
    text = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} ... {text[-half:]}"


FORMS = {
    r"^[a-z][a-z0-9-]*$": "must be of the form [a-z][a-z0-9-]*: small letters, digits, hyphens",
    r"^[a-z][a-z0-9_]*$": "must be of the form [a-z][a-z0-9_]*: small letters, digits, underscores",
}
EXAMPLES = {
    "date_type": "must be a date such as 2013-01-31, without quotes",
    "datetime_type": "must be a date and time such as 2013-01-31T00:00:00, without quotes",
}


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: the known name that is nearest to `name`, or those there are."""
    known = list(known)
    near = difflib.get_close_matches(name, known, 1)
    if near:
        return f"did you mean {near[0]}?"
    return f"there is {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}" if known else "there is none"


def explain_validation(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """pydantic's findings in plain words."""
    return [_explain(item, model) for item in error.errors(include_url=False, include_input=True)]


def _explain(item: Any, model: type[BaseModel]) -> Problem:
    kind, context = item["type"], item.get("ctx", {})
    path = list(item["loc"])
    if path[-1] == "[key]" and kind != "extra_forbidden":
        path.pop()
    if path[:1] == ["tables"] and path[2:3] == ["columns"] and len(path) > 4:
        path.pop(4)  # the type of the column, which is no key
    place = ".".join(map(str, path))
    if kind == "extra_forbidden":
        return Problem(place, f"unknown key: {nearest(str(path[-1]), _keys(model, item['loc'][:-1]))}")
    if kind == "missing":
        return Problem(place, "is missing")
    if kind == "string_pattern_mismatch":
        return Problem(place, FORMS.get(context.get("pattern", ""), 'must be "host:port"'))
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        *types, last = get_args(KINDS)
        return Problem(f"{place}.type", f"must be {', '.join(types)} or {last}")
    if kind in EXAMPLES:
        return Problem(place, EXAMPLES[kind])
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return Problem(place, "must be a table of keys and values")
    if kind == "value_error":
        return Problem(place, str(context.get("error", item["msg"])))
    if kind in ("too_short", "string_too_short") and context["min_length"] == 1:
        return Problem(place, "must not be empty")
    message = item["msg"][:1].lower() + item["msg"][1:]
    return Problem(place, message.replace("input should be", "must be").replace("string should have", "must have"))


def _keys(model: type[BaseModel], path: Sequence[object]) -> list[str]:
    """The keys that are known at `path`."""
    here: list[Any] = [model]
    for part in path:
        found: list[Any] = []
        for kind in here:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                if part in kind.model_fields:
                    found += _models(kind.model_fields[str(part)].annotation)
                elif kind.model_fields.get("type") and part in get_args(kind.model_fields["type"].annotation):
                    found.append(kind)
            elif get_origin(kind) is dict:
                found += _models(get_args(kind)[1])
        here = found
    return sorted({name for kind in here if isinstance(kind, type) and issubclass(kind, BaseModel) for name in kind.model_fields})


def _models(annotation: Any) -> list[Any]:
    """The models and dicts that an annotation is made of."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return [found for part in get_args(annotation) for found in _models(part)]
    if hasattr(annotation, "__metadata__"):
        return _models(annotation.__origin__)
    return [annotation]
