"""Runs a plugin for a worker: speaks the plugin protocol on two pipes. Started by the worker, not by hand."""

import asyncio
import base64
import contextvars
import faulthandler
import gc
import inspect
import json
import os
import select
import sys
import threading
import time
import traceback
from collections import deque

from windlass import answers
from windlass.context import Context
from windlass.errors import Reject
from windlass.frames import FrameReader
from windlass.plugin import NotLoaded, load
from windlass.streams import LogStream

__all__ = ["main"]

PROTOCOL = 1
# seconds that an answer waits for the next ones, while jobs take less
_HELD = 0.0005
# and while a job suddenly takes more
_WATCH = 0.005


class Responses:
    """The end that leads to the worker."""

    def __init__(self, descriptor):
        self._descriptor = descriptor
        self._held = deque()
        self._writing = threading.Lock()
        self.hold = self._held.append

    def send(self, frame):
        self._held.append(frame)
        self.write()

    def write(self):
        """Writes all that is held; whoever comes first does it for the others."""
        with self._writing:
            frames = []
            while self._held:
                frames.append(self._held.popleft())
            data = b"".join(frames)
            while data:
                data = data[os.write(self._descriptor, data) :]

    def holds(self):
        return bool(self._held)


class Watch:
    """Writes what is held while a job takes long."""

    def __init__(self, responses):
        self._responses = responses
        self._wake = threading.Event()
        self._thread = None
        self._asleep = True

    def begin(self):
        if self._asleep:
            self._asleep = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="windlass-watch", daemon=True)
                self._thread.start()
            self._wake.set()

    def _watch(self):
        while True:
            self._wake.wait()
            self._wake.clear()
            quiet = 0
            while quiet < 200:
                time.sleep(_WATCH)
                quiet += 1
                if self._responses.holds():
                    quiet = 0
                    self._responses.write()
            self._asleep = True
            # one that came before the line above was seen by nobody
            self._responses.write()


class Host:
    """What the host of a plain handler and that of an async one share."""

    def __init__(self, plugin, requests, responses, limit, streams):
        self.plugin = plugin
        self.requests = requests
        self.reader = FrameReader(requests)
        self.responses = responses
        self.limit = limit
        self.streams = streams
        for stream in streams:
            stream.host = self

    def hello(self):
        sequential = not self.plugin.is_async
        self.responses.send(
            answers.note(
                "hello", {"protocol": PROTOCOL, "name": self.plugin.name, "sequential": sequential, "cancel": True}
            )
        )

    def log(self, run_id, line):
        self.responses.send(answers.note("log", {"id": run_id, "line": line}))

    def progress(self, run_id, value):
        self.responses.send(answers.note("progress", {"id": run_id, "value": value}))

    def failed(self, run_id, error):
        """The answer for an exception; one that nobody meant to raise is explained in the log."""
        for line in answers.explained(error):
            self.log(run_id, line)
        return answers.failed(run_id, *answers.failure(error))

    def finish_lines(self, run_id):
        for stream in self.streams:
            stream.finish(run_id)


class PlainHost(Host):
    """Runs one job after another, in the main thread."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.queue = deque()
        self.cancelled = set()
        self.current = None
        self.watch = Watch(self.responses)

    def current_run(self):
        return self.current

    def look(self, context):
        """Reads what the worker has sent meanwhile, without waiting."""
        while select.select([self.requests], [], [], 0)[0]:
            if not self.receive():
                break
        context.cancel_seen = context.run_id in self.cancelled

    def receive(self):
        messages = self.reader.read()
        if messages is None:
            self.queue.append({"stop": {}})
            return False
        for message in messages:
            if "cancel" in message:
                self.cancelled.add(message["cancel"]["id"])
        self.queue.extend(messages)
        return True

    def serve(self):
        queue, responses, now = self.queue, self.responses, time.perf_counter
        since = 0.0
        while True:
            while not queue:
                responses.write()
                self.receive()
                since = now()
            message = queue.popleft()
            run = message.get("run")
            if run is not None:
                responses.hold(self.run(run))
                if not queue or now() - since > _HELD:
                    responses.write()
                    since = now()
                else:
                    self.watch.begin()
            elif "cancel" in message:
                self.cancelled.discard(message["cancel"]["id"])
            elif "stop" in message:
                responses.write()
                return

    def run(self, run):
        """The answer for one job."""
        plugin, run_id = self.plugin, run["id"]
        if self.cancelled and run_id in self.cancelled:
            return answers.failed(run_id, "aborted", "it was cancelled before it started")
        self.current = run_id
        try:
            data = data_of(run)
            output = plugin.call(data, Context(run, self)) if plugin.wants_context else plugin.call(data)
            return answers.done(run_id, output, self.limit)
        except BaseException as error:  # a handler may raise anything, and every job must be answered
            return self.failed(run_id, error)
        finally:
            self.finish_lines(run_id)
            self.current = None


class AsyncHost(Host):
    """Runs as many jobs at once as the worker sends."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.tasks = {}
        self.here = contextvars.ContextVar("windlass_run", default=None)
        self.loop = None
        self.stopped = None
        self.will_write = False

    def current_run(self):
        run_id = self.here.get()
        # a thread does not know whose it is, unless there is only one
        return next(iter(self.tasks)) if run_id is None and len(self.tasks) == 1 else run_id

    def look(self, context):
        """A cancel is seen as it comes."""

    async def serve(self):
        self.loop = asyncio.get_running_loop()
        self.stopped = self.loop.create_future()
        os.set_blocking(self.requests, False)
        self.loop.add_reader(self.requests, self.receive)
        await self.stopped
        self.loop.remove_reader(self.requests)
        running = [task for task, _ in self.tasks.values()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self.write()

    def receive(self):
        try:
            messages = self.reader.read()
        except BlockingIOError:
            return
        for message in [{"stop": {}}] if messages is None else messages:
            if "run" in message:
                self.begin(message["run"])
            elif "cancel" in message:
                self.cancel(message["cancel"]["id"])
            elif "stop" in message and not self.stopped.done():
                self.stopped.set_result(None)

    def begin(self, run):
        run_id, context = run["id"], Context(run, self)
        task = self.loop.create_task(self.run(run, context))
        self.tasks[run_id] = task, context
        # a task that is cancelled before its first step never runs: only its end is seen in every case
        task.add_done_callback(lambda task: self.answer(run_id, task))

    def cancel(self, run_id):
        if run_id in self.tasks:
            task, context = self.tasks[run_id]
            context.cancel_seen = True
            task.cancel()

    async def run(self, run, context):
        self.here.set(context.run_id)
        try:
            arguments = (data_of(run), context) if self.plugin.wants_context else (data_of(run),)
            return answers.done(context.run_id, await self.plugin.call(*arguments), self.limit)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # a handler may raise anything, and every job must be answered
            return self.failed(context.run_id, error)
        finally:
            self.finish_lines(context.run_id)

    def answer(self, run_id, task):
        del self.tasks[run_id]
        cancelled = task.cancelled()
        self.responses.hold(answers.failed(run_id, "aborted", "it was cancelled") if cancelled else task.result())
        if not self.will_write:
            # after the others that are ready now
            self.will_write = True
            self.loop.call_soon(self.write)

    def write(self):
        self.will_write = False
        self.responses.write()


def data_of(run):
    """The job's data: what its JSON says, or bytes."""
    job = run["job"]
    if "data_base64" in job:
        return base64.b64decode(job["data_base64"])
    if "too_deep" in run:
        raise Reject("its data is nested too deeply to be read")
    return job["data"]


def main():
    """Serves the plugin that the worker names in the environment, until the worker says stop."""
    requests, responses = (int(os.environ.pop(name)) for name in ("WINDLASS_FD_IN", "WINDLASS_FD_OUT"))
    limit = int(os.environ.pop("WINDLASS_OUTPUT_LIMIT"))
    told = json.loads(os.environ.pop("WINDLASS_PLUGIN"))
    faulthandler.enable(sys.stderr)
    sys.stdout, sys.stderr = streams = [LogStream(sys.stdout), LogStream(sys.stderr)]
    keep_from_children([requests, responses], streams)
    responses = Responses(responses)
    try:
        plugin = load(told["file"], told["name"], told["options"])
        if plugin.is_async:
            asyncio.run(serve_async(plugin, AsyncHost(plugin, requests, responses, limit, streams)))
        else:
            # outside of any event loop, since the handler may want one of its own
            serve_plain(plugin, PlainHost(plugin, requests, responses, limit, streams))
    except NotLoaded as error:
        refuse(responses, str(error))
    except BaseException as error:  # whatever the plugin's own code raised while it was loaded or started
        traceback.print_exc()
        refuse(responses, f"{plugin_name(told)} could not be started: {type(error).__name__}: {error}")


def serve_plain(plugin, host):
    finished(plugin.start())
    settle_memory()
    host.hello()
    host.serve()
    finished(plugin.close())


async def serve_async(plugin, host):
    for step in (plugin.start, settle_memory, host.hello, host.serve, plugin.close):
        result = step()
        if inspect.isawaitable(result):
            await result


def finished(result):
    """Waits for the end of a start() or close() that is async although its handler is plain."""
    if inspect.isawaitable(result):

        async def wait():
            await result

        asyncio.run(wait())


def settle_memory():
    """What is loaded by now stays: the collector need not look at it again."""
    gc.collect()
    gc.freeze()


def refuse(responses, message):
    responses.send(answers.note("refused", {"message": message}))
    sys.exit(1)


def plugin_name(told):
    return f"{os.path.basename(told['file'])}:{told['name']}"


def keep_from_children(descriptors, streams):
    """Programs that the plugin starts, and processes it forks, have no business on our pipes."""

    def forget():
        for descriptor in descriptors:
            os.close(descriptor)
        for stream in streams:
            stream.host = None

    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    os.register_at_fork(after_in_child=forget)
