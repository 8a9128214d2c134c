"""Runs a handler without a worker, and tells what a worker would have been told.

    harness = Harness(handler)
    outcome = harness.run({"n": 1})
    assert outcome.done and outcome.output == 2
"""

import asyncio
import base64
import contextlib
import inspect
import json

from windlass import answers
from windlass.context import Context
from windlass.plugin import Plugin
from windlass.streams import LogStream

__all__ = ["Harness", "Outcome"]


class Outcome:
    """What became of a run.

    - `done`: whether the handler returned.
    - `output`: what it returned, as JSON or base64 would carry it.
    - `failure_class`, `message`, `retry_after` (seconds): of a run that failed.
    - `logs`: the lines that were logged or printed; `progress`: the values that were reported.
    """

    def __init__(self, answer, logs, progress):
        self.done = "done" in answer
        body = answer["done" if self.done else "failed"]
        self.output = body.get("output")
        if "output_base64" in body:
            self.output = base64.b64decode(body["output_base64"])
        self.failure_class = body.get("class")
        self.message = body.get("message")
        milliseconds = body.get("retry_after_ms")
        self.retry_after = None if milliseconds is None else milliseconds / 1000
        self.logs = logs
        self.progress = progress

    def __repr__(self):
        if self.done:
            return f"Outcome(done, output={self.output!r})"
        return f"Outcome({self.failure_class}: {self.message})"


class Harness:
    """A plugin under test. `options` go to the class's constructor, as from the config."""

    def __init__(self, handler, **options):
        self._plugin = Plugin(handler, options)
        self._wait(self._plugin.start())

    def close(self):
        self._wait(self._plugin.close())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def run(self, data=None, *, output_limit=1 << 20, timeout=300.0, cancelled=False, **job):
        """Runs one job. `job`: any of id, type, version, key, tenant, priority, attempt, deadline, batch, …"""
        fields = {"id": "test-1", "type": "test", "tenant": "default", "priority": 4, "attempt": 1, **job}
        fields["data"] = data if isinstance(data, (bytes, bytearray)) else json.loads(json.dumps(data))
        run = {"id": 1, "timeout_ms": int(timeout * 1000), "job": fields}
        listener = _Listener(cancelled)
        streams = [LogStream(None), LogStream(None)]
        for stream in streams:
            stream.host = listener
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            frame = self._answer(run, listener, output_limit)
            for stream in streams:
                stream.finish(1)
        return Outcome(json.loads(frame[4:]), listener.logs, listener.values)

    def _answer(self, run, listener, limit):
        data = run["job"]["data"]
        arguments = (data, Context(run, listener)) if self._plugin.wants_context else (data,)
        try:
            return answers.done(1, self._wait(self._plugin.call(*arguments)), limit)
        except BaseException as error:  # as the host does
            listener.logs += answers.explained(error)
            return answers.failed(1, *answers.failure(error))

    @staticmethod
    def _wait(result):
        if not inspect.isawaitable(result):
            return result

        async def wait():
            return await result

        return asyncio.run(wait())


class _Listener:
    """Stands for the host."""

    def __init__(self, cancelled):
        self.cancelled = cancelled
        self.logs = []
        self.values = []

    def current_run(self):
        return 1

    def log(self, _run_id, line):
        self.logs.append(line)

    def progress(self, _run_id, value):
        self.values.append(json.loads(json.dumps(value)))

    def look(self, context):
        context.cancel_seen = self.cancelled
