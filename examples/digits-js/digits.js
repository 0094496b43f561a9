// Reads a request's body into the model's input, and the model's output into the answer.
//
// Plain JavaScript: it knows nothing of WebAssembly or the host.

// Pixels of an image of 8 by 8, and the value of full ink; the model takes pixels from 0 to 1.
export const PIXELS = 64;
const FULL_INK = 16;
// The most images of one request.
const MAX_IMAGES = 256;
const DIGITS = 10;

/** What the caller sent is not right. `field` is the input at fault, if it is one. */
export class Refused extends Error {
  constructor(reason, field, status = 422) {
    super(field ? `${field}: ${reason}` : reason);
    this.field = field;
    this.status = status;
  }
}

/** The scaled pixels of one or several images in one array, and whether there may be several. */
export function preprocess(body) {
  let sent;
  try {
    sent = JSON.parse(body);
  } catch (error) {
    throw new Refused(`the body is not JSON: ${error.message}`, undefined, 400);
  }
  if (Array.isArray(sent)) {
    return { pixels: scale([[sent, ""]]), many: false };
  }
  if (sent === null || typeof sent !== "object") {
    throw new Refused(`expected a list of ${PIXELS} numbers, or an object with \`pixels\` or \`images\``);
  }
  const keys = Object.keys(sent);
  const unknown = keys.find((key) => key !== "pixels" && key !== "images");
  if (unknown !== undefined) {
    throw new Refused("unknown; there are `pixels` and `images`", unknown);
  }
  if (keys.length === 0) {
    throw new Refused("missing", "pixels");
  }
  if (keys.length > 1) {
    throw new Refused("give one of `pixels` and `images`");
  }
  if (keys[0] === "pixels") {
    return { pixels: scale([[sent.pixels, "pixels"]]), many: false };
  }
  const { images } = sent;
  if (!Array.isArray(images) || images.length < 1 || images.length > MAX_IMAGES) {
    throw new Refused(`must be 1 to ${MAX_IMAGES} images${gotLength(images)}`, "images");
  }
  return { pixels: scale(images.map((image, index) => [image, `images[${index}]`])), many: true };
}

/** Pixels from 0 to 1 of images, each with its place in the body. */
function scale(images) {
  const scaled = new Float32Array(images.length * PIXELS);
  images.forEach(([image, field], row) => {
    if (!Array.isArray(image) || image.length !== PIXELS) {
      const reason = `must be ${PIXELS} numbers${gotLength(image)}`;
      throw field ? new Refused(reason, field) : new Refused(`the list ${reason}`);
    }
    image.forEach((pixel, index) => {
      if (typeof pixel !== "number" || !(pixel >= 0 && pixel <= FULL_INK)) {
        const got = JSON.stringify(pixel).slice(0, 40);
        throw new Refused(`must be a number from 0 to ${FULL_INK}, got ${got}`, `${field}[${index}]`);
      }
      scaled[row * PIXELS + index] = pixel / FULL_INK;
    });
  });
  return scaled;
}

function gotLength(value) {
  return Array.isArray(value) ? `, got ${value.length}` : "";
}

/** The answer, in the form of the request. */
export function postprocess(probabilities, many) {
  const readings = [];
  for (let row = 0; row < probabilities.length; row += DIGITS) {
    readings.push(reading(probabilities.subarray(row, row + DIGITS)));
  }
  return many ? { digits: readings } : readings[0];
}

/** The likeliest digit; the smaller one of two that are equally likely. */
function reading(probabilities) {
  const confidence = Math.max(...probabilities);
  return { digit: probabilities.indexOf(confidence), confidence: Number(confidence.toFixed(6)) };
}
