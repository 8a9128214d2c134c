"""Frames of the plugin protocol: four bytes of length, highest first, then so many bytes of JSON."""

import json
import os
from json import encoder

__all__ = ["FrameReader", "NotJson", "framed", "to_json"]

# as much as a pipe holds
_PIPE = 65536
# json.loads and json.dumps look at their options anew in every call, which takes longer than a small frame itself
_scan = json.JSONDecoder().scan_once
_plain = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
if encoder.c_make_encoder is None:
    _chunks = None
else:
    _chunks = encoder.c_make_encoder(
        None, _plain.default, encoder.encode_basestring, None, ":", ",", False, False, False
    )


class NotJson(Exception):
    """A value that JSON cannot hold."""


def to_json(value):
    """JSON text of a value; `NotJson` says what of it cannot be written."""
    try:
        return "".join(_chunks(value, 0)) if _chunks else _plain.encode(value)
    except RecursionError:
        raise NotJson("it contains itself, or is nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise NotJson(str(error)) from None


def framed(body):
    """The frame of a JSON text in UTF-8."""
    return len(body).to_bytes(4, "big") + body


class FrameReader:
    """Reads messages from a descriptor, as many as one read brings."""

    def __init__(self, descriptor):
        self._descriptor = descriptor
        self._rest = b""

    def read(self):
        """The messages that have come; None at the end of the stream. Waits for bytes, not for whole frames."""
        rest = self._rest
        chunk = os.read(self._descriptor, _PIPE)
        if not chunk:
            return None
        if rest:
            # a bytearray, since a large frame comes in many pieces
            rest = rest if isinstance(rest, bytearray) else bytearray(rest)
            rest += chunk
        else:
            rest = chunk
        messages = []
        start, end = 0, len(rest)
        while end - start >= 4:
            after = start + 4 + int.from_bytes(rest[start : start + 4], "big")
            if after > end:
                break
            messages.append(_parse(rest[start + 4 : after]))
            start = after
        self._rest = rest[start:] if start else rest
        return messages


def _parse(body):
    try:
        return _scan(str(body, "utf-8"), 0)[0]
    except RecursionError:
        return _too_deep(body)


def _too_deep(body):
    """The start of a run's frame can be read however deeply its data, which comes last, is nested."""
    head = str(body, "utf-8").partition(',"data":')[0]
    message = json.loads(head + "}}}")
    message["run"]["too_deep"] = True
    return message
