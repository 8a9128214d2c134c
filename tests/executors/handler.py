"""The suite's plugin for the Python executor: the deeds by a function, and by a class that runs many at once."""

import asyncio
import multiprocessing
import os
import threading
import time

import deeds
import windlass

KINDS = {
    "failed": windlass.Retry,
    "rejected": windlass.Reject,
    "throttled": windlass.Throttled,
    "unavailable": windlass.Unavailable,
    "misconfigured": windlass.Misconfigured,
}


class Late(windlass.JobError):
    failure_class = "timeout"


def told(ctx):
    job = ctx.job
    fields = {name: getattr(job, name) for name in ("id", "type", "key", "tenant", "priority", "traceparent")}
    return {**fields, "attempt": ctx.attempt}


def shout(value):
    print("from a process:", value)


def plain(data, ctx):
    if isinstance(data, bytes):
        return data
    deed, value = data["do"], data.get("value")
    if deed == "progress":
        return ctx.progress(value)
    if deed == "job":
        return told(ctx)
    if deed == "raise":
        raise ValueError(value)
    if deed == "quit":
        raise SystemExit(value)
    if deed == "object":
        return {"a": object()}
    if deed == "circle":
        value = []
        value.append(value)
        return value
    if deed == "surrogate":
        return "\udc80"
    if deed == "thread":
        thread = threading.Thread(target=print, args=("printed", value))
        thread.start()
        thread.join()
        return value
    if deed == "fork":
        child = multiprocessing.get_context("fork").Process(target=shout, args=(value,))
        child.start()
        child.join()
        return child.exitcode
    if deed == "system":
        return os.system(f"echo printed {value}")
    if deed == "patient":
        ctx.log("waiting")
        while not ctx.cancelled:
            time.sleep(0.001)
        return None
    try:
        return deeds.perform(data, ctx.log)
    except deeds.Fail as failure:
        after = None if failure.after_ms is None else failure.after_ms / 1000
        raise KINDS.get(failure.failure_class, Late)(failure.message, after=after) from None


class Together:
    """Runs what waits together with others."""

    def __init__(self, greeting="hello", farewell=None):
        self.greeting = greeting
        self.farewell = farewell
        self.started = False

    async def start(self):
        self.started = True

    async def close(self):
        if self.farewell:
            with open(self.farewell, "w") as file:
                file.write("closed in order")

    async def run(self, data, ctx):
        deed, value = data["do"], data.get("value")
        if deed == "greeting":
            return [self.greeting, self.started]
        if deed == "sleep":
            ctx.log("sleeping")
            await asyncio.sleep(600)
        if deed == "interleave":
            for _ in range(value):
                print("line of", ctx.job.id)
                await asyncio.sleep(0.001)
            return None
        return plain(data, ctx)


class Broken:
    def __init__(self, model):
        raise OSError(f"the model {model} is not there")

    def run(self, data):
        return data
