"""The suite's plugin as a process that stays: written from docs/plugin-protocol.md alone, without the SDK."""

import base64
import json
import os
import struct
import sys
import threading

import deeds

requests = os.fdopen(int(os.environ["WINDLASS_FD_IN"]), "rb")
responses = os.fdopen(int(os.environ["WINDLASS_FD_OUT"]), "wb")
writing = threading.Lock()
for descriptor in (requests.fileno(), responses.fileno()):
    os.set_inheritable(descriptor, False)


def send(message):
    send_bytes(json.dumps(message).encode())


def send_bytes(body):
    with writing:
        responses.write(struct.pack(">I", len(body)) + body)
        responses.flush()


def receive():
    header = requests.read(4)
    if len(header) < 4:
        return {"stop": {}}
    (length,) = struct.unpack(">I", header)
    return json.loads(requests.read(length))


def misbehave(id, deed, value):
    """Breaks the protocol as it is told; true when the deed was one of these."""
    if deed == "garbage":
        os.write(responses.fileno(), b"oops: debugging\n")
    elif deed == "no json":
        send_bytes(b"{not json")
    elif deed == "close":
        responses.close()
        threading.Event().wait()
    elif deed == "twice":
        send({"done": {"id": id, "output": "first"}})
        send({"done": {"id": id, "output": "second"}})
    elif deed == "another":
        send({"done": {"id": id + 1000, "output": "whose?"}})
    elif deed == "silence":
        pass
    elif deed == "hello again":
        send({"hello": {"protocol": 1}})
    elif deed == "too much":
        send({"done": {"id": id, "output": "x" * value}})
    elif deed == "odd class":
        send({"failed": {"id": id, "class": "grumpy", "message": "not today"}})
    elif deed == "progress":
        send({"progress": {"id": id, "value": value}})
        send({"done": {"id": id}})
    else:
        return False
    return True


def mingle(id, name, data):
    """Writes at the same time as others, on every way there is, and is answered when all have written."""
    send({"log": {"id": id, "line": "at the gate"}})
    deeds.perform({"do": "gate", "value": data["open"]}, lambda line: None)
    for number in range(data["value"]):
        send({"log": {"id": id, "line": f"line {number} of {name}"}})
        print(f"word {number} of {name}", file=sys.stderr if number % 2 else sys.stdout, flush=True)
    deeds.perform({"do": "gate", "value": data["close"]}, lambda line: None)
    send({"done": {"id": id}})
    send({"log": {"id": id, "line": f"late line of {name}"}})


def answer(run):
    id, job = run["id"], run["job"]
    data = job.get("data")
    if "data_base64" in job:
        return send({"done": {"id": id, "output_base64": job["data_base64"]}})
    if misbehave(id, data["do"], data.get("value")):
        return None
    if data["do"] == "mingle":
        return mingle(id, job["id"], data)
    if data["do"] == "job":
        return send({"done": {"id": id, "output": {key: job[key] for key in job if key != "data"}}})
    try:
        output = deeds.perform(data, lambda line: send({"log": {"id": id, "line": line}}))
    except deeds.Fail as failure:
        failed = {"id": id, "class": failure.failure_class, "message": failure.message}
        if failure.after_ms is not None:
            failed["retry_after_ms"] = failure.after_ms
        return send({"failed": failed})
    except MemoryError:
        os.abort()
    if isinstance(output, bytes):
        return send({"done": {"id": id, "output_base64": base64.b64encode(output).decode()}})
    return send({"done": {"id": id, "output": output}})


if "refuse" in sys.argv:
    send({"refused": {"message": "the model is not there"}})
    sys.exit(1)
if "mute" in sys.argv:
    sys.exit("cannot import the thing")
together = "together" in sys.argv
send({"hello": {"protocol": 1, "name": "stays.py", "sequential": not together, "cancel": False}})
while True:
    request = receive()
    if "run" in request:
        if together:
            threading.Thread(target=answer, args=(request["run"],), daemon=True).start()
        else:
            answer(request["run"])
    elif "stop" in request:
        break
os._exit(0)
