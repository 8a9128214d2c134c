"""A producer as there are many: publishes jobs until every copy in sync holds them, and waits for their results."""

import json
import os
import time

from confluent_kafka import Consumer, Producer

brokers = os.environ["KAFKA"]
refused = []


def confirmed(error, message):
    if error is not None:
        refused.append((message.key(), error))


names = {f"job-{number}": f"guest {number}" for number in range(20)}
names["job-shy"], names["job-nobody"] = "shy", "nobody"
producer = Producer({"bootstrap.servers": brokers, "acks": "all", "enable.idempotence": True})
for job, name in names.items():
    body = {"id": job, "type": "greeting.wanted", "data": {"name": name}}
    producer.produce("greetings", json.dumps(body), key=name, on_delivery=confirmed)
# the same as a CloudEvent in binary mode
headers = {"ce_specversion": "1.0", "ce_id": "event-1", "ce_source": "/shop", "ce_type": "greeting.wanted"}
producer.produce("greetings", json.dumps({"name": "event"}), headers=headers, on_delivery=confirmed)
names["event-1"] = "event"
assert producer.flush(60) == 0 and not refused, f"not confirmed: {refused}"

consumer = Consumer({"bootstrap.servers": brokers, "group.id": "upstream", "auto.offset.reset": "earliest"})
consumer.subscribe(["greeted"])
greeted, failed, end = {}, {}, time.monotonic() + 90
while len(greeted) + len(failed) < len(names):
    assert time.monotonic() < end, f"no result in time; missing: {sorted(set(names) - set(greeted) - set(failed))}"
    message = consumer.poll(1)
    if message is None or message.error():
        continue
    event = json.loads(message.value())
    if event["type"] == "windlass.job.completed":
        greeted[event["subject"]] = event["data"]["greeting"]
    else:
        failed[event["subject"]] = event["data"]["reason"]
consumer.close()
assert failed == {"job-nobody": "rejected"}, failed
assert greeted == {job: f"Hello, {name}!" for job, name in names.items() if name != "nobody"}, greeted
print(f"{len(greeted)} greeted, one of them at the second try; one is a dead letter")
