// Trees of nodes, made of plain values, and their transfer into the page.
// Data only ever becomes text or the value of an attribute that the browser does not run.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "rect", "path", "line", "circle"]);

/** Make an element; an attribute that is null or false is left out, children may be nested. */
export function h(tag, attributes, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  node.append(...whole(children));
  return node;
}

/** Make what is inside `container` equal to `children`, keeping every node that can stay. */
export function show(container, ...children) {
  const fresh = document.createDocumentFragment();
  fresh.append(...whole(children));
  alignChildren(container, fresh);
}

function whole(children) {
  return children
    .flat(Infinity)
    .filter((one) => one !== null && one !== undefined && one !== false);
}

// Nodes that stay keep focus, selection, scroll position and whether they are unfolded.
function align(old, fresh) {
  if (!alike(old, fresh)) {
    old.replaceWith(fresh);
  } else if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else {
    alignAttributes(old, fresh);
    alignChildren(old, fresh);
  }
}

function alike(old, fresh) {
  return old.nodeName === fresh.nodeName && keyOf(old) === keyOf(fresh);
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null;
}

function alignAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    // Whether something is unfolded is the reader's business.
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

function alignChildren(old, fresh) {
  const keyed = new Map();
  const wanted = new Set([...fresh.childNodes].map(keyOf));
  for (const child of [...old.childNodes]) {
    const key = keyOf(child);
    // What goes, goes first: then nothing that stays has to move, and moving loses the focus.
    if (key !== null && !wanted.has(key)) child.remove();
    else if (key !== null) keyed.set(key, child);
  }
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = keyOf(child);
    const known = key === null ? null : keyed.get(key);
    if (known && known !== place && known.nodeName === child.nodeName) {
      old.insertBefore(known, place);
      place = known;
    }
    if (!place) {
      old.append(child);
    } else if (!alike(place, child) && (key !== null || keyOf(place) !== null)) {
      old.insertBefore(child, place);
    } else {
      const next = place.nextSibling;
      align(place, child);
      place = next;
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}
