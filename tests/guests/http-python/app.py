"""A component of `wasi:http/incoming-handler@0.2`, made with componentize-py and nothing of Modelet.

`spinsdk` and `fetch-js` do the same with other tools.
"""

import asyncio

from componentize_py_types import Err, Ok
from poll_loop import PollLoop, Sink, Stream, send
from wit_world import exports
from wit_world.imports.types import (
    Fields,
    Method_Get,
    OutgoingRequest,
    OutgoingResponse,
    ResponseOutparam,
    Scheme_Http,
)


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        loop = PollLoop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(answer(request, response_out))


async def answer(request, out):
    last = request.path_with_query().rsplit("/", 1)[-1]
    if last == "echo":
        # As it comes.
        sink = begin(out, 200)
        async for chunk in chunks(request.consume()):
            await sink.send(chunk)
        sink.close()
    elif last == "fetch":
        # What is at the address in the body.
        address = b"".join([chunk async for chunk in chunks(request.consume())]).decode()
        status, body = await fetch(address)
        sink = begin(out, status)
        await sink.send(body)
        sink.close()
    elif last == "print":
        print("to standard output")
        begin(out, 200).close()
    elif last == "loop":
        while True:
            pass
    else:
        method = type(request.method()).__name__.removeprefix("Method_").upper()
        test = b"".join(request.headers().get("x-test")).decode()
        begin(out, 202, [("x-seen", f"{method} {last} {test}".encode())]).close()


def begin(out, status, headers=()):
    response = OutgoingResponse(Fields.from_list(list(headers)))
    response.set_status_code(status)
    sink = Sink(response.body())
    ResponseOutparam.set(out, Ok(response))
    return sink


async def chunks(body):
    stream = Stream(body)
    while (chunk := await stream.next()) is not None:
        yield chunk


async def fetch(address):
    authority, path = address.removeprefix("http://").split("/", 1)
    request = OutgoingRequest(Fields.from_list([]))
    request.set_method(Method_Get())
    request.set_scheme(Scheme_Http())
    request.set_authority(authority)
    request.set_path_with_query(f"/{path}")
    try:
        found = await send(request)
    except Err as error:
        return 502, str(error.value).encode()
    return found.status(), b"".join([chunk async for chunk in chunks(found.consume())])
