import time
import unittest

import windlass
from windlass.plugin import NotLoaded
from windlass.testing import Harness


def double(data, ctx):
    ctx.log("doubling", data["n"])
    print("printed")
    ctx.progress({"percent": 50})
    return {"n": data["n"] * 2, "job": ctx.job.id}


class Greeter:
    def __init__(self, greeting="hello"):
        self.greeting = greeting
        self.open = False

    async def start(self):
        self.open = True

    async def close(self):
        self.open = False

    async def run(self, data):
        assert self.open
        return f"{self.greeting}, {data}"


def raising(error):
    def handler(data):
        raise error

    return handler


class HarnessTests(unittest.TestCase):
    def test_a_function_runs_with_its_output_log_and_progress(self):
        outcome = Harness(double).run({"n": 21}, id="job-7")
        self.assertTrue(outcome.done)
        self.assertEqual(outcome.output, {"n": 42, "job": "job-7"})
        self.assertEqual(outcome.logs, ["doubling 21", "printed"])
        self.assertEqual(outcome.progress, [{"percent": 50}])

    def test_an_async_class_is_made_with_options_started_and_closed(self):
        with Harness(Greeter, greeting="ahoy") as harness:
            self.assertEqual(harness.run("you").output, "ahoy, you")

    def test_every_error_has_its_class(self):
        for error, failure_class in [
            (windlass.Retry("again"), "failed"),
            (windlass.Reject("never"), "rejected"),
            (windlass.Throttled("slow", after=1.5), "throttled"),
            (windlass.Unavailable("gone"), "unavailable"),
            (windlass.Misconfigured("no key"), "misconfigured"),
            (ValueError("bad"), "failed"),
            (MemoryError(), "crashed"),
            (SystemExit(3), "failed"),
        ]:
            with self.subTest(error=error):
                outcome = Harness(raising(error)).run()
                self.assertFalse(outcome.done)
                self.assertEqual(outcome.failure_class, failure_class)
        self.assertEqual(Harness(raising(windlass.Throttled("slow", after=1.5))).run().retry_after, 1.5)

    def test_an_exception_nobody_meant_leaves_its_traceback_without_our_own_frames(self):
        outcome = Harness(raising(ValueError("bad"))).run()
        self.assertEqual(outcome.message, "ValueError: bad")
        text = "\n".join(outcome.logs)
        self.assertIn("test_testing.py", text)
        self.assertNotIn("windlass/testing.py", text)

    def test_what_cannot_be_sent_is_rejected(self):
        for value in [object(), float("nan"), "\udc80", "x" * 2000]:
            outcome = Harness(lambda data, value=value: value).run(output_limit=1024)
            self.assertEqual(outcome.failure_class, "rejected", outcome)

    def test_bytes_go_in_and_out(self):
        self.assertEqual(Harness(lambda data: data + b"\x00").run(b"\xff").output, b"\xff\x00")

    def test_a_handler_sees_cancellation_time_and_deadline(self):
        def look(data, ctx):
            self.assertIsNone(ctx.job.version)
            self.assertEqual(ctx.deadline.isoformat(), "2030-01-02T03:04:05.123456+00:00")
            return [ctx.cancelled, 0 < ctx.remaining() <= 5, ctx.attempt]

        outcome = Harness(look).run(timeout=5, attempt=3, cancelled=True, deadline="2030-01-02T03:04:05.123456789Z")
        self.assertEqual(outcome.output, [True, True, 3])

    def test_what_is_no_handler_is_refused_with_the_fix(self):
        for handler, said in [(42, "neither"), (lambda: None, "takes no data"), (object, "run(self, data, ctx)")]:
            with self.assertRaisesRegex(NotLoaded, said.replace("(", r"\(").replace(")", r"\)")):
                Harness(handler)


if __name__ == "__main__":
    unittest.main()
