"""Submits jobs to a worker and waits for what becomes of them, over the worker's HTTP API."""

import base64
import http.client
import json
import random
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

__all__ = [
    "Client",
    "ClientError",
    "Entry",
    "JobFailed",
    "NotAccepted",
    "NotFound",
    "Refused",
    "StillRunning",
    "Submitted",
    "Unknown",
]

# states in which nothing more happens to a job by itself
_ENDED = {"completed", "dead", "discarded", "moved"}
# one question waits this long at most, so that proxies between do not lose patience
_ONE_WAIT = 30.0
# between two tries: doubling from the first to the last
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 5.0


class ClientError(Exception):
    """Something went wrong between here and the worker."""


class NotAccepted(ClientError):
    """The worker could not be reached, or had no room, for as long as was tried: nothing was taken."""


class Unknown(ClientError):
    """A request was sent and no answer came. Whether the worker took the jobs cannot be told.

    Submitting them again under the same ids is safe: a job that is known by its id is not taken twice.
    """


class Refused(ClientError):
    """The worker said no; `status` is the HTTP status."""

    def __init__(self, status, message):
        super().__init__(f"the worker refused ({status}): {message}")
        self.status, self.message = status, message


class NotFound(Refused):
    """There is no such job."""


class StillRunning(ClientError):
    """The job has not ended in the time that was given; `entry` is where it stands."""

    def __init__(self, entry):
        super().__init__(f"job {entry.id} has not ended yet: it is {entry.state}")
        self.entry = entry


class JobFailed(ClientError):
    """The job ended without a result; `entry` has its failure."""

    def __init__(self, entry):
        failure = entry.failure or {}
        super().__init__(f"job {entry.id} is {entry.state}: {failure.get('message', 'no message')}")
        self.entry = entry


class Submitted:
    """A job that the worker holds: its `id`, its `queue`, and whether it was `existing`, known before under this id."""

    def __init__(self, fields):
        self.id = fields["id"]
        self.queue = fields.get("queue")
        self.existing = fields["existing"]

    def __repr__(self):
        return f"Submitted(id={self.id!r}, existing={self.existing})"


class Entry:
    """A job as the worker keeps it: `state`, and once it is completed, `output`."""

    def __init__(self, fields):
        self.fields = fields
        self.id = fields["id"]
        self.state = fields["state"]
        self.failure = fields.get("failure")
        self.event = fields.get("event")

    @property
    def ended(self):
        return self.state in _ENDED

    @property
    def output(self):
        """What the handler returned: a JSON value, bytes, or None."""
        event = self.event or {}
        if "data_base64" in event:
            return base64.b64decode(event["data_base64"])
        return event.get("data")

    def __repr__(self):
        return f"Entry(id={self.id!r}, state={self.state!r})"


class Client:
    """Talks to one worker.

    `url`: where its API listens, such as "http://localhost:8787". `token`: the secret that `api.token` of the worker names.
    `patience`: seconds for which a call is tried again while the worker cannot be reached or has no room.
    `timeout`: seconds to wait for one answer, beside the waiting that a call asks for.
    """

    def __init__(self, url, *, token=None, patience=30.0, timeout=10.0):
        self._url = url.rstrip("/")
        self._token = token
        self._patience = patience
        self._timeout = timeout

    def submit(self, type, data=None, *, id=None, **job):
        """Hands over one job, and returns it as `Submitted` once the worker holds it.

        `job`: any of version, key, tenant, priority, not_before, delay, deadline, batch, traceparent. Without an `id` it is
        given one. It is tried again under the same id until the worker has it, so that it is never taken twice.
        """
        return self.submit_many([{"type": type, "data": data, "id": id, **job}])[0]

    def submit_many(self, jobs):
        """Hands over many jobs in one request; each is a dict with type, data and the keys of `submit`.

        All are taken, or none. Returns `Submitted` for each, in order.
        """
        lines = [json.dumps(_message(job), separators=(",", ":"), allow_nan=False) for job in jobs]
        if not lines:
            return []
        request = self._request("/jobs", "\n".join(lines).encode())
        request.add_header("Content-Type", "application/x-ndjson")
        return [Submitted(taken) for taken in self._insist(request, self._timeout)["jobs"]]

    def result(self, id, *, wait=0.0, queue=None):
        """The job as it stands; waits up to `wait` seconds for its end."""
        until = time.monotonic() + wait
        while True:
            turn = min(max(0.0, until - time.monotonic()), _ONE_WAIT)
            began = time.monotonic()
            entry = self._look(id, turn, queue)
            if entry.ended or time.monotonic() >= until:
                return entry
            # a worker that is stopping answers before the time is over
            if time.monotonic() - began < turn / 2:
                time.sleep(min(_FIRST_PAUSE, max(0.0, until - time.monotonic())))

    def submit_and_wait(self, type, data=None, *, wait=60.0, id=None, **job):
        """Hands over a job and returns what its handler returned. Raises `JobFailed` or `StillRunning`."""
        submitted = self.submit(type, data, id=id, **job)
        entry = self.result(submitted.id, wait=wait, queue=submitted.queue)
        if not entry.ended:
            raise StillRunning(entry)
        if entry.state != "completed":
            raise JobFailed(entry)
        return entry.output

    def batch(self, id):
        """How far a batch has come, as a dict: size, done, dead, discarded, opened, completed, cancelled, dead_jobs.

        Jobs join one by `batch={"id": …, "size": …}`. Raises `NotFound` until its first job was taken.
        """
        return self._insist(self._request(f"/batches/{urllib.parse.quote(id, safe='')}"), self._timeout)

    def wait_for_batch(self, id, *, wait=60.0):
        """The batch once all of its jobs have ended, or as it stands when `wait` seconds are over."""
        until, pause = time.monotonic() + wait, _FIRST_PAUSE
        while True:
            try:
                batch = self.batch(id)
                if batch.get("completed"):
                    return batch
            except NotFound:
                if time.monotonic() >= until:
                    raise
                batch = None
            left = until - time.monotonic()
            if left <= 0 and batch is not None:
                return batch
            time.sleep(max(0.0, min(pause, left)))
            pause = min(pause * 2, _LAST_PAUSE)

    def cancel_batch(self, id, *, by="operator"):
        """Has the jobs of a batch that have not started discarded, each when its turn comes."""
        request = self._request(f"/batches/{urllib.parse.quote(id, safe='')}/cancel", json.dumps({"by": by}).encode())
        request.add_header("Content-Type", "application/json")
        self._insist(request, self._timeout)

    def _look(self, id, wait, queue):
        query = {"wait": f"{round(wait * 1000)}ms"} if wait else {}
        if queue is not None:
            query["queue"] = queue
        path = f"/jobs/{urllib.parse.quote(id, safe='')}"
        if query:
            path += "?" + urllib.parse.urlencode(query)
        return Entry(self._insist(self._request(path), self._timeout + wait))

    def _request(self, path, body=None):
        request = urllib.request.Request(self._url + path, data=body)
        if self._token is not None:
            request.add_header("Authorization", f"Bearer {self._token}")
        return request

    def _insist(self, request, timeout):
        """Tries until there is an answer or patience is over. Every request here may be repeated."""
        until, pause, perhaps = time.monotonic() + self._patience, _FIRST_PAUSE, False
        while True:
            try:
                return _ask(request, timeout)
            except _NotNow as trouble:
                perhaps = perhaps or trouble.perhaps
                wait = max(trouble.after, pause * random.uniform(0.5, 1.0))
                if time.monotonic() + wait > until:
                    kind = Unknown if perhaps else NotAccepted
                    raise kind(f"the worker at {self._url} did not answer: {trouble}") from None
            time.sleep(wait)
            pause = min(pause * 2, _LAST_PAUSE)


class _NotNow(Exception):
    """To be tried again; `perhaps` the request was carried out all the same."""

    def __init__(self, reason, *, perhaps, after=0.0):
        super().__init__(reason)
        self.perhaps, self.after = perhaps, after


def _ask(request, timeout):
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        refusal = _refusal(error)
        if error.code in (429, 503):
            raise _NotNow(refusal.message, perhaps=False, after=_seconds(error.headers.get("Retry-After"))) from None
        raise refusal from None
    except json.JSONDecodeError as error:
        raise ClientError(f"{request.full_url} does not answer as a Windlass worker does: {error}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        never_sent = isinstance(reason, (ConnectionRefusedError, socket.gaierror))
        raise _NotNow(reason, perhaps=not never_sent) from None


def _seconds(text):
    return float(text) if text and text.isdigit() else 0.0


def _message(job):
    """The job in Windlass JSON, without the keys that say nothing."""
    message = {key: value for key, value in job.items() if value is not None}
    if not message.get("type"):
        raise ValueError("a job needs a type")
    message.setdefault("id", str(uuid.uuid4()))
    data = message.get("data")
    if isinstance(data, (bytes, bytearray)):
        message["data_base64"] = base64.b64encode(message.pop("data")).decode()
    return message


def _refusal(error):
    text = error.read().decode(errors="replace")
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = text.strip() or error.reason
    return (NotFound if error.code == 404 else Refused)(error.code, message)
