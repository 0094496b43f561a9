"""The handler: the contract in `wit/` on one side, the functions of `digits.py` on the other.

This module is imported when the component is built, and what it holds then is what a call begins with.
"""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.handler import Body_Bytes
from wit_world.imports import tensors
from wit_world.imports.models import Model
from wit_world.imports.tensors import Elements_F32, Tensor
from wit_world.imports.types import Problem, Response

import digits

JSON = [("content-type", b"application/json")]

# Whose turn it is if the model cannot run: the caller's, try again, or the author's.
PROBLEMS = {
    tensors.Error_InvalidInput: (422, "invalid_input"),
    tensors.Error_Overloaded: (503, "overloaded"),
    tensors.Error_DeadlineExceeded: (504, "wall_time_exceeded"),
    tensors.Error_Cancelled: (499, "cancelled"),
    tensors.Error_Backend: (500, "backend_failed"),
}


class Handler(exports.Handler):
    async def handle(self, request, body):
        try:
            pixels, many = digits.preprocess(body.value)
            probabilities = await infer(pixels)
            return Response(200, JSON), Body_Bytes(digits.postprocess(probabilities, many))
        except digits.Refused as refused:
            problem = Problem(refused.status, "invalid_input", str(refused), refused.field)
            raise Err(problem) from None


async def infer(pixels):
    """The probabilities of every digit, for one image after another."""
    shape = [len(pixels) // digits.PIXELS, digits.PIXELS]
    try:
        with await Model.load("digits") as model, Tensor.create(shape, Elements_F32(pixels)) as tensor:
            [(_, output)] = await model.infer([("input", tensor)], ["probabilities"])
            with output:
                return output.elements().value
    except Err as error:
        status, code = PROBLEMS.get(type(error.value), (500, "handler_error"))
        raise Err(Problem(status, code, getattr(error.value, "value", code), None)) from None
