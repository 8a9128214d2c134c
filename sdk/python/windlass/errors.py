"""What a handler raises to say how its job failed. Any other exception is a failure that is tried again."""

__all__ = ["JobError", "Misconfigured", "Reject", "Retry", "Throttled", "Unavailable"]


class JobError(Exception):
    """A failure with a class of the worker; raise one of its children."""

    failure_class = "failed"

    def __init__(self, message="", *, after=None):
        """`after`: seconds until the next try, where the handler knows better than the worker's back-off."""
        super().__init__(message)
        self.message = str(message) or type(self).__name__
        self.after = after


class Retry(JobError):
    """It failed and may work the next time; an attempt is counted."""


class Reject(JobError):
    """It will never work: a bad request. To the dead letters at once."""

    failure_class = "rejected"


class Throttled(JobError):
    """The target has no room now; no attempt is counted."""

    failure_class = "throttled"


class Unavailable(JobError):
    """The target cannot be reached; no attempt is counted."""

    failure_class = "unavailable"


class Misconfigured(JobError):
    """The plugin's own settings are wrong: a missing secret, a refused login. No attempt is counted."""

    failure_class = "misconfigured"
