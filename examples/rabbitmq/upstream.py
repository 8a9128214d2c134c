"""A producer as there are many: publishes jobs with confirms, and waits for their results."""

import json
import os

import pika

connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
channel = connection.channel()
channel.confirm_delivery()  # publishing raises when no queue holds the message


def publish(body, **properties):
    properties = pika.BasicProperties(delivery_mode=2, **properties)
    channel.basic_publish("", "greetings", body, properties, mandatory=True)


names = {f"job-{number}": f"guest {number}" for number in range(20)}
names["job-shy"] = "shy"
for job, name in names.items():
    publish(json.dumps({"id": job, "type": "greeting.wanted", "data": {"name": name}}))
# the same as a CloudEvent in binary mode
headers = {"specversion": "1.0", "id": "event-1", "source": "/shop", "type": "greeting.wanted"}
headers = {f"cloudEvents:{name}": value for name, value in headers.items()}
publish(json.dumps({"name": "event"}), headers=headers, content_type="application/json", message_id="event-1")
names["event-1"] = "event"

greeted = {}
for method, _, body in channel.consume("greeted", inactivity_timeout=60):
    assert method, f"no result within a minute; missing: {sorted(set(names) - set(greeted))}"
    event = json.loads(body)
    greeted[event["subject"]] = event["data"]["greeting"]
    channel.basic_ack(method.delivery_tag)
    if len(greeted) == len(names):
        break
channel.cancel()
connection.close()
assert greeted == {job: f"Hello, {name}!" for job, name in names.items()}, greeted
print(f"{len(greeted)} greeted, one of them at the second try")
