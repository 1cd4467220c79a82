// States, tables and short lists of facts, the same all over the page.

import { h } from "./dom.js";
import { count, counted } from "./words.js";

const GLYPHS = { good: "✓", wait: "…", warn: "!", bad: "×", off: "–" };

/** A state as a glyph and a word; the colour only repeats them. */
export function mark(mood, ...words) {
  return h(
    "span",
    { class: `mark ${mood}` },
    h("span", { class: "glyph", "aria-hidden": "true" }, GLYPHS[mood]),
    h("span", null, ...words),
  );
}

/** A table that becomes a list of cards on a narrow screen; each column: title, cell(row), number. */
export function table(caption, columns, rows, keyOf) {
  // The roles stay when the narrow layout takes `display: table` away.
  return h(
    "table",
    { role: "table" },
    h("caption", { class: "unseen" }, caption),
    h(
      "thead",
      { role: "rowgroup" },
      h(
        "tr",
        { role: "row" },
        columns.map((one) =>
          h("th", { scope: "col", role: "columnheader", class: one.number && "number" }, one.title),
        ),
      ),
    ),
    h(
      "tbody",
      { role: "rowgroup" },
      rows.map((row) => h("tr", { role: "row", "data-key": keyOf(row) }, cells(columns, row))),
    ),
  );
}

function cells(columns, row) {
  return columns.map((one, index) =>
    h(
      index ? "td" : "th",
      {
        scope: index ? null : "row",
        role: index ? "cell" : "rowheader",
        class: one.number && "number",
        "data-title": one.title,
      },
      one.cell(row),
    ),
  );
}

/** Terms and what they are now. */
export function facts(pairs, kind = "facts") {
  return h(
    "dl",
    { class: kind },
    pairs.map(([term, value]) => h("div", null, h("dt", null, term), h("dd", null, value))),
  );
}

/** The button that shows more of what a section holds back. */
export function more(section, shown, all, step) {
  if (shown >= all) return null;
  const next = Math.min(step, all - shown);
  return h(
    "p",
    { class: "more", "data-key": "more" },
    h(
      "button",
      { type: "button", "data-action": "more", "data-section": section },
      `Show ${counted(next, "more", "more")}`,
    ),
    h("span", { class: "quiet" }, ` ${count(shown)} of ${count(all)}`),
  );
}
