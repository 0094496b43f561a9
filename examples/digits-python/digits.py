"""Reads a request's body into the model's input, and the model's output into the answer.

Plain Python: it knows nothing of WebAssembly or the host.
"""

import json

# Pixels of an image of 8 by 8, and the value of full ink; the model takes pixels from 0 to 1.
PIXELS = 64
FULL_INK = 16
# The most images of one request.
MAX_IMAGES = 256
DIGITS = 10


class Refused(Exception):
    """What the caller sent is not right. `field` is the input at fault, if it is one."""

    def __init__(self, reason, field=None, status=422):
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.status = status


def preprocess(body):
    """The scaled pixels of one or several images in one list, and whether there may be several."""
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is not JSON: {error}", status=400) from None
    if isinstance(sent, list):
        return scale(sent, ""), False
    if not isinstance(sent, dict):
        raise Refused(f"expected a list of {PIXELS} numbers, or an object with `pixels` or `images`")
    if unknown := sent.keys() - {"pixels", "images"}:
        raise Refused("unknown; there are `pixels` and `images`", min(unknown))
    if not sent:
        raise Refused("missing", "pixels")
    if len(sent) > 1:
        raise Refused("give one of `pixels` and `images`")
    if "pixels" in sent:
        return scale(sent["pixels"], "pixels"), False
    images = sent["images"]
    if not isinstance(images, list) or not 1 <= len(images) <= MAX_IMAGES:
        raise Refused(f"must be 1 to {MAX_IMAGES} images{got_length(images)}", "images")
    return [pixel for index, image in enumerate(images) for pixel in scale(image, f"images[{index}]")], True


def scale(image, field):
    """Pixels from 0 to 1. `field` is where the image stands in the body."""
    if not isinstance(image, list) or len(image) != PIXELS:
        reason = f"must be {PIXELS} numbers{got_length(image)}"
        raise Refused(reason, field) if field else Refused(f"the list {reason}")
    for index, pixel in enumerate(image):
        # `True` is an `int` in Python, and no ink. NaN is in no range.
        if isinstance(pixel, bool) or not isinstance(pixel, (int, float)) or not 0 <= pixel <= FULL_INK:
            got = json.dumps(pixel)[:40]
            raise Refused(f"must be a number from 0 to {FULL_INK}, got {got}", f"{field}[{index}]")
    return [pixel / FULL_INK for pixel in image]


def got_length(value):
    return f", got {len(value)}" if isinstance(value, list) else ""


def postprocess(probabilities, many):
    """The answer's body, in the form of the request."""
    rows = range(0, len(probabilities), DIGITS)
    readings = [reading(probabilities[row : row + DIGITS]) for row in rows]
    return json.dumps({"digits": readings} if many else readings[0]).encode()


def reading(probabilities):
    """The likeliest digit; the smaller one of two that are equally likely."""
    digit = max(range(DIGITS), key=probabilities.__getitem__)
    return {"digit": digit, "confidence": round(probabilities[digit], 6)}
