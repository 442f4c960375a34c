"""Frames to bytes and back, as proto/parties/wire/v1/party.proto says. A data frame's payload, which is nearly all that
ever travels, is moved once on its way out and not at all on its way in; everything else goes through protobuf."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from mpc.channel import Payload, Tag
from parties.wire.v1 import party_pb2 as pb

CHUNK = 512 << 10
LARGEST_FRAME = 1 << 20


@dataclass(frozen=True, slots=True)
class Data:
    """A `Data` message; its payload may be a view. Prints neither that nor the session."""

    session: bytes = field(repr=False)
    step: int
    operation: str
    payload: Payload = field(repr=False)
    last: bool = True
    block: int = 0
    size: int = 0
    """Bytes in memory: the whole frame, which a payload that is a view keeps there, and the session's."""


Frame = pb.Frame | Data

# Tags of the wire format: field number * 8 + type (0 varint, 2 length-delimited). The payload has the highest number of
# its message, so it is written last.
_DATA = pb.Frame.DATA_FIELD_NUMBER << 3 | 2
_PAYLOAD = pb.Data.PAYLOAD_FIELD_NUMBER << 3 | 2


def cut(session: bytes, tag: Tag, payload: Payload) -> Iterator[Data]:
    """The frames of one message."""
    view = memoryview(payload)
    for start in range(0, max(len(view), 1), CHUNK):
        yield Data(session, tag.step, tag.operation, view[start : start + CHUNK], start + CHUNK >= len(view), tag.block)


def encode(frame: Frame) -> bytes:
    if isinstance(frame, pb.Frame):
        return frame.SerializeToString()
    head = pb.Data(
        session=frame.session, step=frame.step, operation=frame.operation, block=frame.block, last=frame.last
    ).SerializeToString()
    if len(frame.payload):
        head += bytes([_PAYLOAD]) + _varint(len(frame.payload))
    return b"".join((bytes([_DATA]), _varint(len(head) + len(frame.payload)), head, frame.payload))


def decode(raw: bytes) -> Frame:
    """What is no frame at all becomes an empty one, which the session ends over."""
    try:
        places = _places(raw)
        if places is not None:
            body, field, payload = places
            head = pb.Data.FromString(raw[body:field])
            size = len(raw) + len(head.session)
            return Data(head.session, head.step, head.operation, memoryview(raw)[payload:], head.last, head.block, size)
        frame = pb.Frame.FromString(raw)
    except DecodeError:
        return pb.Frame()
    if frame.HasField("data"):
        data = frame.data
        size = len(raw) + len(data.session)
        return Data(data.session, data.step, data.operation, data.payload, data.last, data.block, size)
    return frame


def _places(raw: bytes) -> tuple[int, int, int] | None:
    """Where a data frame's message, its payload field and its payload begin; None where this is another frame, or
    written in another way than `encode` does, which protobuf allows."""
    try:
        if raw[0] != _DATA:
            return None
        length, body = _read_varint(raw, 1)
        if body + length != len(raw):
            return None
        position = body
        while raw[position] != _PAYLOAD:
            kind = raw[position] & 7
            if raw[position] >= 0x80 or kind not in (0, 2):
                return None
            value, after = _read_varint(raw, position + 1)
            position = after + value if kind == 2 else after
        length, payload = _read_varint(raw, position + 1)
        return (body, position, payload) if payload + length == len(raw) else None
    except IndexError:
        return None


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(raw: bytes, position: int) -> tuple[int, int]:
    """The number at `position`, and what comes after it. IndexError where there is none."""
    value = 0
    for shift in range(0, 70, 7):
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise IndexError("a varint has at most ten bytes")
