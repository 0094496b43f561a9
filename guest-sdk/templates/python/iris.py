"""What goes before and after the model. Plain Python: it knows nothing of WebAssembly or the host."""

import json

# In the order of the model's output.
SPECIES = ("setosa", "versicolor", "virginica")
# In the order of the model's input; centimetres.
FIELDS = ("sepal_length", "sepal_width", "petal_length", "petal_width")


class Refused(Exception):
    """What the caller sent is not right. `field` is the input at fault, if it is one."""

    def __init__(self, reason, field=None, status=422):
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.status = status


def preprocess(body):
    """The model's four features from a request's body."""
    try:
        flower = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is not JSON: {error}", status=400) from None
    if not isinstance(flower, dict):
        raise Refused(f"the body must be an object with {', '.join(FIELDS)}")
    if unknown := flower.keys() - set(FIELDS):
        raise Refused(f"unknown; there are {', '.join(FIELDS)}", min(unknown))
    return [centimetres(flower, field) for field in FIELDS]


def centimetres(flower, field):
    if field not in flower:
        raise Refused("missing", field)
    value = flower[field]
    # `True` is an `int` in Python, and not a length. NaN is in no range.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 30:
        raise Refused(f"must be a number from 0 to 30, got {json.dumps(value)[:40]}", field)
    return float(value)


def postprocess(probabilities, min_confidence):
    """The answer's body. The species is `unknown` if none is as likely as `min_confidence`."""
    confidence, species = max(zip(probabilities, SPECIES))
    if confidence < min_confidence:
        species = "unknown"
    return json.dumps({"species": species, "confidence": round(confidence, 6)}).encode()
