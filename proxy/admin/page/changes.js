// What changed in the flags, newest first.

import { h } from "./dom.js";
import { more } from "./tables.js";
import { clock } from "./words.js";

const GLYPHS = { added: "+", removed: "−", changed: "~" };

/** How far apart the deployments of a project hear of the same change. */
const SAME_SECONDS = 60;

/** The feed; every entry says when, where, which flag and what. */
export function feed(changes, { shown, step }) {
  if (!changes.length) return h("p", { class: "quiet" }, "None since the start.");
  const told = merged(changes);
  const keys = keysOf(told);
  return [
    h(
      "ol",
      { class: "feed" },
      told.slice(0, shown).map((one, index) => entry(one, keys[index])),
    ),
    more("changes", Math.min(shown, told.length), told.length, step),
  ];
}

// The same change of several deployments is told once, with the names of all.
function merged(changes) {
  const last = new Map();
  const told = [];
  for (const one of changes) {
    const same = JSON.stringify([one.flag, one.kind, one.from_version, one.to_version, one.what]);
    const before = last.get(same);
    if (
      before &&
      before.at - one.at < SAME_SECONDS &&
      !before.deployments.includes(one.deployment)
    ) {
      before.deployments.push(one.deployment);
    } else {
      const fresh = { ...one, deployments: [one.deployment] };
      last.set(same, fresh);
      told.push(fresh);
    }
  }
  return told;
}

// Two changes may share all that could tell them apart; then their order does.
function keysOf(changes) {
  const seen = new Map();
  return changes
    .toReversed()
    .map((one) => {
      const key = `${one.at}/${one.flag}`;
      seen.set(key, (seen.get(key) ?? 0) + 1);
      return `${key}/${seen.get(key)}`;
    })
    .toReversed();
}

function entry(one, key) {
  return h(
    "li",
    { "data-key": key },
    h(
      "p",
      { class: "feed-head" },
      h("span", { class: `kind ${one.kind}`, "aria-hidden": "true" }, GLYPHS[one.kind] ?? "~"),
      one.flag ? h("code", null, one.flag) : null,
      h("span", { class: "quiet" }, ` ${one.kind}${versions(one)}`),
    ),
    one.what?.length
      ? h(
          "ul",
          { class: "what" },
          one.what.map((text) => h("li", null, text.replaceAll(" %", "\u00a0%"))),
        )
      : null,
    h(
      "p",
      { class: "quiet" },
      h("time", { datetime: new Date(one.at * 1000).toISOString() }, clock(one.at)),
      ` · ${one.deployments.toSorted().join(", ")} · ${one.source}`,
    ),
  );
}

function versions({ kind, from_version: from, to_version: to }) {
  if (kind === "changed" && from !== to) return ` v${from ?? "?"} → v${to ?? "?"}`;
  const version = kind === "removed" ? from : to;
  return version === null || version === undefined ? "" : ` v${version}`;
}
