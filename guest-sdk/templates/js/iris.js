// What goes before and after the model. Plain JavaScript: it knows nothing of WebAssembly or the host.

// In the order of the model's output.
export const SPECIES = ["setosa", "versicolor", "virginica"];
// In the order of the model's input; centimetres.
const FIELDS = ["sepal_length", "sepal_width", "petal_length", "petal_width"];

/** What the caller sent is not right. `field` is the input at fault, if it is one. */
export class Refused extends Error {
  constructor(reason, field, status = 422) {
    super(field ? `${field}: ${reason}` : reason);
    this.field = field;
    this.status = status;
  }
}

/** The model's four features from a request's body, a text. */
export function preprocess(body) {
  let flower;
  try {
    flower = JSON.parse(body);
  } catch (error) {
    throw new Refused(`the body is not JSON: ${error.message}`, undefined, 400);
  }
  if (flower === null || typeof flower !== "object" || Array.isArray(flower)) {
    throw new Refused(`the body must be an object with ${FIELDS.join(", ")}`);
  }
  const unknown = Object.keys(flower).find((field) => !FIELDS.includes(field));
  if (unknown !== undefined) {
    throw new Refused(`unknown; there are ${FIELDS.join(", ")}`, unknown);
  }
  return FIELDS.map((field) => {
    if (!Object.hasOwn(flower, field)) {
      throw new Refused("missing", field);
    }
    const value = flower[field];
    if (typeof value !== "number" || !(value >= 0 && value <= 30)) {
      throw new Refused(`must be a number from 0 to 30, got ${JSON.stringify(value).slice(0, 40)}`, field);
    }
    return value;
  });
}

/** The answer. The species is `unknown` if none is as likely as `minConfidence`. */
export function postprocess(probabilities, minConfidence) {
  const confidence = Math.max(...probabilities);
  const species = confidence < minConfidence ? "unknown" : SPECIES[probabilities.indexOf(confidence)];
  return { species, confidence: Number(confidence.toFixed(6)) };
}
