"""Submits reports and waits for them."""

import sys

import windlass

client = windlass.Client(sys.argv[1])
for month in range(1, 13):
    client.submit("report.month", {"month": f"2026-{month:02}", "sales": [month, month * 2.5], "wobbly": month % 3 == 0}, id=f"report-{month}")
again = client.submit("report.month", {"month": "2026-01", "sales": [1]}, id="report-1")
assert again.existing, "an id that is known changes nothing"
for month in range(1, 13):
    result = client.result(f"report-{month}", wait=30)
    print(result.output)
    assert result.output["total"] == month * 3.5
