// What a screen reader could not make sense of: things without a name, headings that skip a level.
() => {
  const found = [];
  const named = (one) =>
    one.getAttribute("aria-label") ||
    (one.getAttribute("aria-labelledby") &&
      document.getElementById(one.getAttribute("aria-labelledby"))?.textContent) ||
    [...(one.labels ?? [])].some((label) => label.textContent.trim());
  for (const one of document.querySelectorAll("input, select, textarea")) {
    if (!named(one)) found.push(`a control without a label: ${one.id || one.outerHTML}`);
  }
  for (const one of document.querySelectorAll("button, a, summary")) {
    if (!one.textContent.trim()) found.push(`without words: ${one.outerHTML.slice(0, 80)}`);
  }
  for (const one of document.querySelectorAll("section, nav, [role=region]")) {
    if (!named(one)) found.push(`a landmark without a name: ${one.id}`);
  }
  for (const one of document.querySelectorAll("table")) {
    if (!one.caption?.textContent.trim()) found.push("a table without a caption");
    if (one.querySelector("tr:not([role]), td:not([role]), th:not([role])"))
      found.push("a cell without its role");
  }
  for (const one of document.querySelectorAll("svg")) {
    const hidden = one.closest("[aria-hidden=true]") || one.closest("[role=img][aria-label]");
    if (!hidden) found.push("a drawing without words");
  }
  let level = 0;
  for (const one of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const here = Number(one.tagName[1]);
    if (here > level + 1) found.push(`h${here} after h${level}: ${one.textContent}`);
    level = here;
  }
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  const twice = ids.filter((id, index) => ids.indexOf(id) !== index);
  if (twice.length) found.push(`ids twice: ${twice}`);
  for (const role of ["header", "main", "footer", "nav"]) {
    if (document.querySelectorAll(`body > ${role}, header > ${role}`).length !== 1)
      found.push(`not one ${role}`);
  }
  return found;
};
