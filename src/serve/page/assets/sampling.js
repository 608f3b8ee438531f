// The sampling controls: what may be entered, and what is sent. An empty field is left to the server.

/** Name, bounds and step of each control; `above` is an open lower bound. */
export const FIELDS = [
  { name: "temperature", min: 0, max: 2, step: 0.05 },
  { name: "top_p", above: 0, max: 1, step: 0.05 },
  { name: "top_k", min: 0, whole: true },
  { name: "repetition_penalty", above: 0, max: 10, step: 0.05 },
  { name: "max_tokens", min: 1, whole: true },
  { name: "seed", min: 0, whole: true },
];

/** The value of a field's text: a number, null where it is empty, undefined where it is not allowed. */
export function readField(field, text) {
  const trimmed = text.trim();
  if (trimmed === "") return null;
  if (!/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(trimmed)) return undefined;
  const value = Number(trimmed);
  return isAllowed(field, value) ? value : undefined;
}

function isAllowed(field, value) {
  if (!Number.isFinite(value)) return false;
  if (field.whole && !Number.isSafeInteger(value)) return false;
  if (field.min !== undefined && value < field.min) return false;
  if (field.above !== undefined && value <= field.above) return false;
  return field.max === undefined || value <= field.max;
}

/** Of any object, what is a valid setting. */
export function validSettings(settings) {
  const valid = {};
  for (const field of FIELDS) {
    const value = settings?.[field.name];
    if (typeof value === "number" && isAllowed(field, value)) valid[field.name] = value;
  }
  return valid;
}
