"""Writes the golden frames of this folder with kio, a Kafka codec that shares no code with ours.

    pip install kio==0.6.5
    python generate.py

One file per API and version: the request and the response, field by field, `hex  path = value`.
Joining the hex of a section gives the whole frame, size included. Every number of a message is
different, so that two fields that change places are noticed. Nullable fields are filled; the
nulls are left to the differential test.
"""

import datetime
import importlib
import io
import pathlib
import uuid
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import get_args, get_origin

from kio.schema.errors import ErrorCode
from kio.schema.index import api_key_map
from kio.serial import entity_writer
from kio.serial._introspect import get_field_tag
from kio.serial._serialize import get_field_writer
from kio.static.constants import EntityType

# The API table of src/api.rs: what is served.
SERVED = {
    0: (3, 13), 1: (4, 18), 2: (1, 11), 3: (0, 13), 8: (2, 10), 9: (1, 10), 10: (0, 5),
    11: (0, 9), 12: (0, 4), 13: (0, 5), 14: (0, 5), 15: (0, 6), 16: (0, 5), 18: (0, 4),
    19: (2, 7), 20: (1, 6), 21: (0, 2), 22: (0, 5), 23: (2, 4), 32: (1, 4), 33: (0, 2),
    35: (1, 5), 37: (0, 3), 42: (0, 2), 43: (0, 2), 44: (0, 1), 45: (0, 1), 46: (0, 0), 47: (0, 0), 48: (0, 1), 49: (0, 1), 50: (0, 0), 55: (0, 2), 57: (0, 2),
    60: (0, 2), 61: (0, 0), 64: (0, 0), 68: (0, 1), 69: (0, 1), 74: (0, 1), 75: (0, 0),
}
ERRORS = [code for code in ErrorCode if code.value > 0]


class Values:
    """Values that do not repeat within a message."""

    def __init__(self):
        self.n = 0

    def next(self):
        self.n += 1
        return self.n

    def primitive(self, kafka_type, name):
        n = self.next()
        match kafka_type:
            case "int8":
                return n % 100 + 1
            case "int16" | "uint16":
                return 300 + n
            case "int32":
                return 70_000 + n
            case "int64":
                return 5_000_000_000 + n
            case "float64":
                return 90_000.5 + n
            case "bool":
                return n % 2 == 1
            case "string":
                return f"{name}-{n}"
            case "bytes" | "records":
                return f"<{name}-{n}>".encode()
            case "uuid":
                return uuid.UUID(int=(n << 100) + n)
            case "error_code":
                return ERRORS[n % len(ERRORS)]
            case "timedelta_i32" | "timedelta_i64":
                return datetime.timedelta(milliseconds=70_000 + n)
            case "datetime_i64":
                return datetime.datetime.fromtimestamp(1_000_000 + n, datetime.timezone.utc)
        raise NotImplementedError(kafka_type)

    def entity(self, kind):
        return kind(**{field.name: self.field(field) for field in fields(kind)})

    def field(self, field):
        kind = field.type
        if get_origin(kind) is UnionType:
            kind = next(arg for arg in get_args(kind) if arg is not NoneType)
        if get_origin(kind) is tuple:
            element = get_args(kind)[0]
            return tuple(self.one(field, element) for _ in range(2))
        return self.one(field, kind)

    def one(self, field, kind):
        if is_dataclass(kind):
            return self.entity(kind)
        return self.primitive(field.metadata["kafka_type"], field.name)


def written(writer, value):
    buffer = io.BytesIO()
    writer(buffer, value)
    return buffer.getvalue()


def shown(value):
    if isinstance(value, ErrorCode):
        return str(value.value)
    if isinstance(value, datetime.timedelta):
        return str(value // datetime.timedelta(milliseconds=1))
    if isinstance(value, datetime.datetime):
        return str(int(value.timestamp() * 1000))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.decode()
    return str(value)


def lines(entity, path=""):
    """The entity, field by field."""
    kind = type(entity)
    whole = written(entity_writer(kind), entity)
    out = []
    for field in fields(kind):
        if get_field_tag(field) is not None:
            continue
        value = getattr(entity, field.name)
        writer = get_field_writer(
            field, kind.__flexible__, kind.__name__ == "RequestHeader", False
        )
        encoded = written(writer, value)
        name = f"{path}{field.name}"
        if isinstance(value, tuple) and value and is_dataclass(value[0]):
            inner = [line for at, e in enumerate(value) for line in lines(e, f"{name}[{at}].")]
            size = sum(len(data) for data, _ in inner)
            out.append((encoded[: len(encoded) - size], f"{name} has {len(value)}"))
            out.extend(inner)
        elif is_dataclass(value):
            inner = lines(value, f"{name}.")
            size = sum(len(data) for data, _ in inner)
            if len(encoded) > size:
                out.append((encoded[: len(encoded) - size], f"{name} is there"))
            out.extend(inner)
        elif isinstance(value, tuple):
            out.append((encoded, f"{name} = [{', '.join(shown(v) for v in value)}]"))
        else:
            out.append((encoded, f"{name} = {shown(value)}"))
    rest = whole[sum(len(data) for data, _ in out) :]
    if rest:
        out.append((rest, f"{path}tags"))
    assert b"".join(data for data, _ in out) == whole, path
    return out


def frame(message, header):
    body = lines(header, "header.") + lines(message)
    size = sum(len(data) for data, _ in body)
    return [(size.to_bytes(4, "big"), f"size = {size}")] + body


def main():
    here = pathlib.Path(__file__).parent
    for old in here.glob("*-v*.txt"):
        old.unlink()
    for key, (low, high) in SERVED.items():
        name = api_key_map[key]
        for version in range(low, high + 1):
            text = [f"# {name} version {version}, by generate.py with kio 0.6.5"]
            for part in ("request", "response"):
                module = importlib.import_module(f"kio.schema.{name}.v{version}.{part}")
                kind = next(
                    k
                    for k in vars(module).values()
                    if is_dataclass(k) and k.__type__ == EntityType[part] and k.__module__ == module.__name__
                )
                message = Values().entity(kind)
                header_kind = kind.__header_schema__
                known = {
                    "request_api_key": key,
                    "request_api_version": version,
                    "correlation_id": 1_234_567,
                    "client_id": "golden",
                }
                header = header_kind(**{f.name: known[f.name] for f in fields(header_kind)})
                text.append(f"\n[{part}]")
                text += [f"{data.hex()}  {what}" for data, what in frame(message, header)]
            (here / f"{key:02}-{name}-v{version:02}.txt").write_text("\n".join(text) + "\n")
    for name in ("consumer_protocol_subscription", "consumer_protocol_assignment"):
        for version in range(4):
            module = importlib.import_module(f"kio.schema.{name}.v{version}.data")
            kind = next(
                k
                for k in vars(module).values()
                if is_dataclass(k) and k.__type__ == EntityType.data and k.__module__ == module.__name__
            )
            body = lines(Values().entity(kind))
            text = [f"# {name} version {version}, by generate.py with kio 0.6.5", "\n[data]"]
            text += [f"{version:04x}  version = {version}"]
            text += [f"{data.hex()}  {what}" for data, what in body]
            (here / f"{name}-v{version}.txt").write_text("\n".join(text) + "\n")


main()
