"""Reads what a collector was sent, with the SDK of CloudEvents.

    collected.py FILE

FILE has the requests, and what each event has to say, by its id. Ends with an error if anything differs.
"""

import json
import sys

from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from dateutil.parser import isoparse

with open(sys.argv[1]) as file:
    COLLECTED = json.load(file)

events = []
for request in COLLECTED["requests"]:
    assert request["content_type"] == "application/cloudevents-batch+json", request
    # The SDK reads one event at a time: a batch is an array of them, in the same format.
    for event in json.loads(request["body"]):
        headers = {"content-type": "application/cloudevents+json"}
        events.append(from_structured_event(HTTPMessage(headers, json.dumps(event).encode())))

expected = COLLECTED["records"]
assert {event.get_id() for event in events} == expected.keys(), (events, expected)
for event in events:
    record = expected[event.get_id()]
    assert event.get_specversion() == "1.0"
    assert event.get_type() == "modelet.invocation"
    assert event.get_source() == COLLECTED["source"], event.get_source()
    assert event.get_subject() == record["tenant"], event.get_subject()
    assert event.get_datacontenttype() == "application/json"
    assert event.get_time() == isoparse(record.pop("started_at"))
    assert event.get_data() == record, (event.get_data(), record)
    quantities = [name for name in record if name.endswith(("_us", "_ms", "_bytes"))]
    assert all(type(event.get_data()[name]) is int for name in quantities), event.get_data()
