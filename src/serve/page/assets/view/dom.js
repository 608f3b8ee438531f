// Elements out of plain values. Text goes in as text nodes only: nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `attributes` are set as they are, but for: functions, which listen to the event that they are named after
 * (`onclick`); true and false, which set and leave out; null and undefined, which leave out.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const ICONS = {
  menu: "M4 7h16M4 12h16M4 17h16",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  remove: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.500 11v5.500M13.500 11v5.500",
  settings: "M4 7h9M19 7h1M4 17h1M11 17h9M13 7a3 3 0 1 0 6 0 3 3 0 1 0-6 0M5 17a3 3 0 1 0 6 0 3 3 0 1 0-6 0",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  done: "M5 12.500l4.500 4.500L19 7.500",
  again: "M19 12a7 7 0 1 1-2.200-5.100M19 4v4h-4",
  edit: "M5 19h3.500L19 8.500 15.500 5 5 15.500zM13 7.500l3.500 3.500",
  previous: "M14.500 6l-6 6 6 6",
  next: "M9.500 6l6 6-6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  warning: "M12 4L2.500 20h19zM12 10v4.500M12 17v.500",
  import: "M12 4v10M8 10l4 4 4-4M5 19h14",
  one: "M5 5h14v14H5z",
  two: "M4 5h7v14H4zM13 5h7v14h-7z",
};

/** A line drawing that screen readers pass over. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows a drawing alone; `label` is its name and its hint. */
export function iconButton(name, label, onclick, attributes = {}) {
  const all = { type: "button", class: "quiet square", "aria-label": label, title: label, onclick, ...attributes };
  return h("button", all, icon(name));
}

/** A button with words, and a drawing before them where `name` is given. */
export function button(name, label, onclick, attributes = {}) {
  const all = { type: "button", class: "quiet", onclick, ...attributes };
  return h("button", all, name && icon(name), h("span", {}, label));
}

/** A menu of choices `[{value, label}]`. */
export function select(choices, value, attributes = {}) {
  const options = choices.map((choice) =>
    h("option", { value: choice.value, selected: choice.value === value }, choice.label),
  );
  return h("select", attributes, options);
}

/**
 * Puts `children` in the place of what is there. The focus stays on the element with the same `data-focus`, or on one
 * beside it where that is disabled now.
 */
export function fill(element, ...children) {
  const key = element.contains(document.activeElement) && document.activeElement.dataset.focus;
  element.replaceChildren(...children.flat(Infinity).filter(Boolean));
  if (!key) return;
  for (const candidate of element.querySelectorAll("[data-focus]")) {
    if (candidate.dataset.focus !== key) continue;
    const target = candidate.disabled ? candidate.parentElement.querySelector(":enabled") : candidate;
    target?.focus({ preventScroll: true });
    return;
  }
}

/** Whether a key belongs to an input method: Enter then takes a candidate. */
export function isComposing(event) {
  return event.isComposing || event.keyCode === 229;
}

/** Puts the focus where one writes; on a touch screen that would open the keyboard unasked. */
export function focusMessage() {
  if (matchMedia("(hover: hover)").matches) document.getElementById("message").focus({ preventScroll: true });
}

/** Copies a text; false where the browser refuses. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

/** The way of pages that were not loaded from this machine or over TLS. */
function copyBySelection(text) {
  const focused = document.activeElement;
  const area = h("textarea", { class: "unseen", "aria-hidden": "true", tabindex: "-1" });
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}
