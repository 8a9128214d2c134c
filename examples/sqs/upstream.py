"""A producer as there are many: sends jobs with boto3, and waits for their results."""

import json
import os
import time

import boto3

sqs = boto3.client("sqs", endpoint_url=os.environ["SQS_ENDPOINT"])
jobs = sqs.get_queue_url(QueueName="greetings")["QueueUrl"]
results = sqs.get_queue_url(QueueName="greeted")["QueueUrl"]

names = {f"job-{number}": f"guest {number}" for number in range(20)}
names["job-shy"] = "shy"
bodies = [json.dumps({"id": job, "type": "greeting.wanted", "data": {"name": name}}) for job, name in names.items()]
for start in range(0, len(bodies), 10):
    entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies[start : start + 10])]
    sent = sqs.send_message_batch(QueueUrl=jobs, Entries=entries)
    assert not sent.get("Failed"), sent["Failed"]  # each entry has its own answer
# the same as a CloudEvent in structured mode
event = {"specversion": "1.0", "id": "event-1", "source": "/shop", "type": "greeting.wanted", "data": {"name": "event"}}
sqs.send_message(QueueUrl=jobs, MessageBody=json.dumps(event), MessageGroupId="shop")
names["event-1"] = "event"

greeted, end = {}, time.monotonic() + 90
while len(greeted) < len(names):
    assert time.monotonic() < end, f"no result in time; missing: {sorted(set(names) - set(greeted))}"
    answer = sqs.receive_message(QueueUrl=results, MaxNumberOfMessages=10, WaitTimeSeconds=5)
    for message in answer.get("Messages", []):
        event = json.loads(message["Body"])
        greeted[event["subject"]] = event["data"]["greeting"]
        sqs.delete_message(QueueUrl=results, ReceiptHandle=message["ReceiptHandle"])
assert greeted == {job: f"Hello, {name}!" for job, name in names.items()}, greeted
print(f"{len(greeted)} greeted, one of them at the second try")
