import unittest

from windlass.testing import Harness

from reports import Reports


class ReportsTest(unittest.TestCase):
    def test_sums(self):
        outcome = Harness(Reports, currency="EUR").run({"month": "2026-11", "sales": [1.5, 2]})
        self.assertEqual(outcome.output, {"month": "2026-11", "total": 3.5, "currency": "EUR"})

    def test_without_sales_there_is_no_report(self):
        self.assertEqual(Harness(Reports, currency="EUR").run({"month": "2026-11"}).failure_class, "rejected")
