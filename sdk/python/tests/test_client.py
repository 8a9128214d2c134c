import http.server
import json
import threading
import unittest
from urllib.parse import parse_qs, urlparse

import windlass
from windlass.client import JobFailed, NotAccepted, NotFound, Refused, StillRunning, Unknown


class Worker(http.server.BaseHTTPRequestHandler):
    """A stand-in for the worker's API: answers what the test has laid ready, and keeps what it was asked."""

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.server.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length).decode()))
        status, body, *headers = self.server.answers.pop(0)
        if status is None:
            self.close_connection = True
            return
        payload = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


class ClientTests(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Worker)
        self.server.answers, self.server.asked = [], []
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.client = windlass.Client(self.url, token="secret", patience=0)

    def lay(self, *answers):
        self.server.answers += answers

    def test_a_job_is_submitted_with_its_keys_and_an_id_of_its_own(self):
        self.lay((201, {"jobs": [{"id": "a-1", "existing": False}]}))
        self.assertEqual(self.client.submit("image.resize", {"n": 1}, tenant="acme", priority=9).id, "a-1")
        method, path, headers, body = self.server.asked[0]
        self.assertEqual((method, path, headers["Authorization"]), ("POST", "/jobs", "Bearer secret"))
        self.assertEqual(headers["Content-Type"], "application/x-ndjson")
        message = json.loads(body)
        self.assertEqual(message["type"], "image.resize")
        self.assertEqual((message["data"], message["tenant"], message["priority"]), ({"n": 1}, "acme", 9))
        self.assertTrue(message["id"])
        self.assertNotIn("key", message)

    def test_many_jobs_travel_as_lines_and_bytes_as_base64(self):
        self.lay((201, {"jobs": [{"id": "a", "existing": False}, {"id": "b", "existing": True}]}))
        taken = self.client.submit_many([{"type": "t", "id": "a", "data": b"\xff"}, {"type": "t", "id": "b"}])
        self.assertEqual([job.existing for job in taken], [False, True])
        first, second = map(json.loads, self.server.asked[0][3].split("\n"))
        self.assertEqual((first["data_base64"], "data" in first), ("/w==", False))
        self.assertEqual(second, {"type": "t", "id": "b"})
        self.assertEqual(self.client.submit_many([]), [])

    def test_a_result_is_waited_for_and_read_from_the_event_of_its_end(self):
        self.lay(
            (201, {"jobs": [{"id": "a/1", "existing": False}]}),
            (200, {"id": "a/1", "state": "completed", "event": {"data": {"sum": 3}}}),
        )
        self.assertEqual(self.client.submit_and_wait("sum", [1, 2], id="a/1", wait=5), {"sum": 3})
        path = urlparse(self.server.asked[1][1])
        self.assertEqual(path.path, "/jobs/a%2F1")
        self.assertRegex(parse_qs(path.query)["wait"][0], r"^\d+ms$")

    def test_a_job_without_a_result_is_told_by_where_it_stands(self):
        taken = (201, {"jobs": [{"id": "a", "existing": False}]})
        self.lay(taken, (200, {"id": "a", "state": "dead", "failure": {"message": "no such image"}}))
        with self.assertRaisesRegex(JobFailed, "dead: no such image"):
            self.client.submit_and_wait("t", wait=1)
        self.lay(taken, (200, {"id": "a", "state": "running"}))
        with self.assertRaisesRegex(StillRunning, "it is running") as caught:
            self.client.submit_and_wait("t", wait=0)
        self.assertEqual(caught.exception.entry.state, "running")

    def test_a_refusal_is_told_in_the_workers_words(self):
        self.lay((400, {"error": {"message": "type: missing"}}), (404, {"error": {"message": "no job x"}}))
        with self.assertRaisesRegex(Refused, "type: missing"):
            self.client.submit("t")
        with self.assertRaises(NotFound):
            self.client.result("x")

    def test_a_batch_is_followed_to_its_end_and_cancelled(self):
        missing = (404, {"error": {"message": "none of its jobs was taken yet"}})
        self.lay(missing, (200, {"id": "b/1", "done": 1}), (200, {"id": "b/1", "done": 2, "completed": "2026-11-21T08:00:00Z"}))
        self.assertEqual(self.client.wait_for_batch("b/1")["done"], 2)
        self.assertEqual([asked[1] for asked in self.server.asked], ["/batches/b%2F1"] * 3)
        self.lay((200, {"id": "b/1", "done": 1}), missing)
        self.assertEqual(self.client.wait_for_batch("b/1", wait=0)["done"], 1)
        with self.assertRaises(NotFound):
            self.client.wait_for_batch("b/1", wait=0)
        self.lay((200, {"id": "b/1", "done": "cancelled"}))
        self.client.cancel_batch("b/1", by="ann")
        method, path, _, body = self.server.asked[-1]
        self.assertEqual((method, path, json.loads(body)), ("POST", "/batches/b%2F1/cancel", {"by": "ann"}))

    def test_a_lost_answer_is_asked_for_again_under_the_same_id(self):
        patient = windlass.Client(self.url, patience=20)
        self.lay((None, None), (503, {"error": {"message": "full"}}), (201, {"jobs": [{"id": "a", "existing": True}]}))
        patient.submit("t")
        ids = {json.loads(body)["id"] for _, _, _, body in self.server.asked}
        self.assertEqual((len(self.server.asked), len(ids)), (3, 1))

    def test_what_is_known_of_a_failed_submission_is_said(self):
        self.lay((None, None))
        with self.assertRaises(Unknown):
            self.client.submit("t")
        self.lay((503, {"error": {"message": "the disk is full"}}))
        with self.assertRaisesRegex(NotAccepted, "the disk is full"):
            self.client.submit("t")
        with self.assertRaises(NotAccepted):
            windlass.Client("http://127.0.0.1:1", patience=0).submit("t")

    def test_a_job_without_a_type_is_refused_here(self):
        with self.assertRaises(ValueError):
            self.client.submit("")


if __name__ == "__main__":
    unittest.main()
