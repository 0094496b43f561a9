"""Reads what a collector was sent, with the SDK of CloudEvents.

    collected.py FILE

FILE has the requests, and what each event has to say, by its id. Ends with an error if anything differs.
"""

import json
import sys

from cloudevents.http import from_http
from dateutil.parser import isoparse

with open(sys.argv[1]) as file:
    COLLECTED = json.load(file)

events = []
for request in COLLECTED["requests"]:
    assert request["content_type"] == "application/cloudevents-batch+json", request
    # The SDK reads one event at a time: a batch is an array of them, in the same format.
    for event in json.loads(request["body"]):
        headers = {"content-type": "application/cloudevents+json"}
        events.append(from_http(headers, json.dumps(event)))

expected = COLLECTED["records"]
assert {event["id"] for event in events} == expected.keys(), (events, expected)
for event in events:
    record = expected[event["id"]]
    assert event["specversion"] == "1.0"
    assert event["type"] == "modelet.invocation"
    assert event["source"] == COLLECTED["source"], event
    assert event["subject"] == record["tenant"], event
    assert event["datacontenttype"] == "application/json"
    assert isoparse(event["time"]) == isoparse(record.pop("started_at"))
    assert event.data == record, (event.data, record)
    quantities = [name for name in record if name.endswith(("_us", "_ms", "_bytes"))]
    assert all(type(event.data[name]) is int for name in quantities), event.data
