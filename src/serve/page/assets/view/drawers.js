// The two sides of the page. Where there is room they stand beside the conversation; where there is none they lie over
// it, and then hold the focus until they are closed.

const SIDES = {
  sidebar: { room: matchMedia("(min-width: 60rem)"), isOpen: true },
  panel: { room: matchMedia("(min-width: 80rem)"), isOpen: false },
};

let opener = null;

export function startDrawers() {
  for (const side of Object.values(SIDES)) {
    side.room.addEventListener("change", () => {
      closeOverlay();
      apply();
    });
  }
  document.getElementById("backdrop").addEventListener("click", closeOverlay);
  apply();
}

/** Shows a side, or hides it where it is shown. */
export function toggle(name) {
  const side = SIDES[name];
  if (side.room.matches) {
    side.isOpen = !side.isOpen;
    apply();
    return;
  }
  if (document.getElementById(name).hidden) openOverlay(name);
  else closeOverlay();
}

/** Shows a side. */
export function open(name) {
  if (document.getElementById(name).hidden) toggle(name);
}

/** Whether a side lies over the conversation. */
export function hasOverlay() {
  return !document.getElementById("backdrop").hidden;
}

export function closeOverlay() {
  if (!hasOverlay()) return;
  document.getElementById("backdrop").hidden = true;
  apply();
  opener?.focus({ preventScroll: true });
  opener = null;
}

function openOverlay(name) {
  closeOverlay();
  opener = document.activeElement;
  document.getElementById("backdrop").hidden = false;
  const element = document.getElementById(name);
  element.hidden = false;
  for (const other of ["main", ...Object.keys(SIDES)]) {
    document.getElementById(other).inert = other !== name;
  }
  element.querySelector("button, input, textarea, select")?.focus();
  markControls();
}

function apply() {
  document.getElementById("main").inert = false;
  for (const [name, side] of Object.entries(SIDES)) {
    const element = document.getElementById(name);
    element.inert = false;
    element.hidden = !(side.room.matches && side.isOpen);
  }
  markControls();
}

/** Lets each control say whether what it controls is shown. */
export function markControls() {
  for (const control of document.querySelectorAll("[aria-controls]")) {
    const element = document.getElementById(control.getAttribute("aria-controls"));
    control.setAttribute("aria-expanded", String(!element.hidden));
  }
}
