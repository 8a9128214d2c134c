"""What a handler knows of its job beside the data, and what it can say while it runs."""

import time
from datetime import datetime

__all__ = ["Context", "Job"]


class Job:
    """The job as its producer submitted it; keys it does not have are None."""

    __slots__ = (
        "id",
        "type",
        "version",
        "key",
        "tenant",
        "priority",
        "batch",
        "traceparent",
        "tracestate",
        "extensions",
    )

    def __init__(self, fields):
        for name in Job.__slots__:
            setattr(self, name, fields.get(name))
        self.extensions = self.extensions or {}

    def __repr__(self):
        return f"Job(id={self.id!r}, type={self.type!r})"


class Context:
    """Handed to a handler with the data."""

    __slots__ = ("run_id", "cancel_seen", "_host", "_run", "_began", "_job")

    def __init__(self, run, host):
        self.run_id = run["id"]
        self.cancel_seen = False
        self._host = host
        self._run = run
        self._began = time.monotonic()
        self._job = None

    @property
    def job(self):
        """The Job, for its id, its type and what else it carries."""
        if self._job is None:
            self._job = Job(self._run["job"])
        return self._job

    @property
    def attempt(self):
        """The number of this run, from 1."""
        return self._run["job"]["attempt"]

    @property
    def deadline(self):
        """When the job is worth nothing any more, over all its attempts: a datetime in UTC, or None."""
        text = self._run["job"].get("deadline")
        return text and datetime.fromisoformat(_microseconds(text))

    def remaining(self):
        """Seconds until this run is stopped, never below 0."""
        return max(0.0, self._began + self._run["timeout_ms"] / 1000 - time.monotonic())

    @property
    def cancelled(self):
        """True once the worker wants this run to end; a long plain handler should look now and then.

        An async handler gets `asyncio.CancelledError` instead.
        """
        if not self.cancel_seen:
            self._host.look(self)
        return self.cancel_seen

    def log(self, *values):
        """Writes a line to the job's log, as print does (which goes there too)."""
        self._host.log(self.run_id, " ".join(map(str, values)))

    def progress(self, value):
        """Tells operators how far the job is: any value that JSON can hold."""
        self._host.progress(self.run_id, value)


def _microseconds(text):
    """RFC 3339 as Python before 3.11 reads it: six digits of fraction and no Z."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return f"{whole}.{fraction[:6]:0<6}+00:00"
