"""A service that makes invoices. It stumbles over every order that ends in 3, once, after it has done the work."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INVOICES = {}  # by idempotency key: a repetition gets the invoice of the first call


class Billing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_OPTIONS(self):
        self.answer(200, {"allow": ["POST"]})

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["x-api-key"] != os.environ["BILLING_KEY"]:
            return self.answer(401, {"error": "who are you?"})
        if order["amount"] <= 0:
            return self.answer(422, {"error": "an invoice needs an amount"})
        key = self.headers["idempotency-key"]
        known = key in INVOICES
        invoice = INVOICES.setdefault(key, {"status": "accepted", "number": len(INVOICES) + 1, "order": order["order"]})
        if order["order"] % 10 == 3 and not known:
            self.close_connection = True  # no answer: nobody knows that the work is done
            return
        self.answer(201, invoice)


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Billing).serve_forever()
