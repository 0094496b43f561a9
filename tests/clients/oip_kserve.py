"""Calls the digits model with KServe's own clients, over HTTP and gRPC.

    oip_kserve.py HOST:PORT EXPECTED

Ends with an error if anything differs from what a KServe server would do; see digits.py.
"""

import asyncio

import grpc
import httpx
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from digits import ADDRESS, ANSWERS, AUTHORIZATION, IMAGES, MODEL, close

HEADERS = {"authorization": AUTHORIZATION}
METADATA = tuple(HEADERS.items())


def request(images, model=MODEL, binary=True):
    tensor = InferInput("input", list(images.shape), "FP32")
    tensor.set_data_from_numpy(images, binary_data=binary)
    wanted = [RequestedOutput("probabilities", {"binary_data": binary})]
    return InferRequest(model, [tensor], request_id="seven", request_outputs=wanted)


def check(response, first, count):
    # The client over HTTP drops the version.
    assert response.model_name == MODEL and response.model_version in ("1", None), response
    assert response.id == "seven", response
    (output,) = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("probabilities", "FP32", [count, 10]), output
    close(output.as_numpy(), ANSWERS[first : first + count])


async def works_over_http():
    base = f"http://{ADDRESS}"
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    assert await client.is_server_live(base) and await client.is_server_ready(base)
    assert await client.is_model_ready(base, MODEL, headers=HEADERS)
    assert not await client.is_model_ready(base, "nobody", headers=HEADERS)
    for binary in (True, False):
        for first in range(8):
            given = request(IMAGES[first : first + 1], binary=binary)
            check(await client.infer(base, given, MODEL, headers=dict(HEADERS)), first, 1)
    check(await client.infer(base, request(IMAGES), MODEL, headers=dict(HEADERS)), 0, len(IMAGES))
    for given, model, headers, status, text in [
        (request(IMAGES, "nobody"), "nobody", HEADERS, 404, "nobody"),
        (request(IMAGES[:, :3]), MODEL, HEADERS, 400, "shape"),
        (request(IMAGES), MODEL, {}, 401, "needs a key"),
    ]:
        try:
            await client.infer(base, given, model, headers=dict(headers))
        except httpx.HTTPStatusError as error:
            assert error.response.status_code == status and text in str(error), error
        else:
            raise AssertionError(f"not refused: {text}")
    await client.close()


async def works_over_grpc():
    async with InferenceGRPCClient(ADDRESS) as client:
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready(MODEL, headers=METADATA)
        assert not await client.is_model_ready("nobody", headers=METADATA)
        for first in range(8):
            check(await client.infer(request(IMAGES[first : first + 1]), headers=METADATA), first, 1)
        check(await client.infer(request(IMAGES), headers=METADATA), 0, len(IMAGES))
        for given, metadata, code in [
            (request(IMAGES, "nobody"), METADATA, grpc.StatusCode.NOT_FOUND),
            (request(IMAGES[:, :3]), METADATA, grpc.StatusCode.INVALID_ARGUMENT),
            (request(IMAGES), (), grpc.StatusCode.UNAUTHENTICATED),
        ]:
            try:
                await client.infer(given, headers=metadata)
            except grpc.RpcError as error:
                assert error.code() == code, error
            else:
                raise AssertionError(f"not refused: {code}")


asyncio.run(works_over_http())
asyncio.run(works_over_grpc())
