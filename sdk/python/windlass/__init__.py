"""Write plugins for Windlass workers, test them, and submit jobs. Nothing but the standard library is needed."""

from windlass.context import Context, Job
from windlass.errors import JobError, Misconfigured, Reject, Retry, Throttled, Unavailable

__all__ = [
    "Client",
    "Context",
    "Job",
    "JobError",
    "Misconfigured",
    "Reject",
    "Retry",
    "Throttled",
    "Unavailable",
]


def __getattr__(name):
    # the client needs urllib, which costs a plugin that submits nothing a noticeable part of its start
    if name == "Client":
        from windlass.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
