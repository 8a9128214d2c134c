"""What became of a job, as the text of a response."""

import base64
import resource
import traceback

from windlass.errors import JobError
from windlass.frames import NotJson, framed, to_json

__all__ = ["done", "explained", "failed", "failure", "note"]


def done(run_id, output, limit=None):
    """The frame for a handler that returned `output`. Raises `NotJson` when that cannot be sent."""
    if output is None:
        return framed(b'{"done":{"id":%d}}' % run_id)
    if isinstance(output, (bytes, bytearray, memoryview)):
        _check(len(output), limit)
        return framed(b'{"done":{"id":%d,"output_base64":"%b"}}' % (run_id, base64.b64encode(output)))
    try:
        text = to_json(output).encode()
    except UnicodeEncodeError as error:
        raise NotJson(f"it has a character that UTF-8 cannot hold: {error}") from None
    _check(len(text), limit)
    return framed(b'{"done":{"id":%d,"output":%b}}' % (run_id, text))


def failed(run_id, failure_class, message, after=None):
    """The frame for a job that failed; `after` in seconds."""
    body = {"id": run_id, "class": failure_class, "message": message}
    if after is not None:
        body["retry_after_ms"] = max(0, round(after * 1000))
    return note("failed", body)


def note(kind, body):
    """The frame of any other response."""
    return framed(to_json({kind: body}).encode(errors="replace"))


def _check(length, limit):
    if limit is not None and length > limit:
        raise NotJson(f"it is {length} bytes long, and output allows {_spelled(limit)}")


def failure(error):
    """The class, message and wish of an exception that ended a job."""
    if isinstance(error, JobError):
        return error.failure_class, error.message, error.after
    if isinstance(error, NotJson):
        return "rejected", f"what the handler returned cannot be sent: {error}", None
    if isinstance(error, MemoryError):
        return "crashed", f"MemoryError: its process ran out of memory{_memory_limit()}", None
    if isinstance(error, SystemExit):
        return "failed", f"the handler called sys.exit({error.code!r})", None
    message = str(error)
    name = type(error).__name__
    return "failed", f"{name}: {message}" if message else name, None


def explained(error):
    """The lines of the traceback of an exception that nobody meant to raise, from the handler on."""
    if isinstance(error, (JobError, NotJson)):
        return []
    steps = error.__traceback__
    while steps is not None and steps.tb_frame.f_globals.get("__name__", "").startswith("windlass."):
        steps = steps.tb_next
    text = "".join(traceback.format_exception(type(error), error, steps))
    return text.rstrip().splitlines()


def _memory_limit():
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return "" if limit == resource.RLIM_INFINITY else f"; it may have {_spelled(limit)} (memory)"


def _spelled(size):
    """A size as the config spells it."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"
