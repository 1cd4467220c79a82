// Request rate and latency of the last minutes, as lines.

import { h } from "./dom.js";
import { clock, millis, rough } from "./words.js";

const WIDTH = 600;
const HEIGHT = 120;
const WINDOW_SECONDS = 900;

/** Two charts, each with its figures in words. */
export function traffic({ samples, interval_seconds: interval }) {
  if (!samples?.length)
    return h("p", { class: "quiet" }, "No figures yet: the first come within seconds.");
  return [
    chart({
      title: "Requests per second",
      unit: (number) => `${rough(number)} /s`,
      lines: [
        { name: "requests", part: "requests_per_second", kind: "first" },
        { name: "failures", part: "failures_per_second", kind: "second" },
      ],
      samples,
      interval,
    }),
    chart({
      title: "Latency",
      unit: millis,
      lines: [
        { name: "median", part: "p50_millis", kind: "first" },
        { name: "99th percentile", part: "p99_millis", kind: "second" },
      ],
      samples,
      interval,
    }),
  ];
}

function chart({ title, unit, lines, samples, interval }) {
  const top = ceiling(
    Math.max(0, ...samples.flatMap((one) => lines.map(({ part }) => one[part] ?? 0))),
  );
  const end = samples.at(-1).at;
  const now = lines.map(({ name, part, kind }) => ({ name, kind, value: samples.at(-1)[part] }));
  const most = lines.map(({ name, part }) => {
    const known = samples.map((one) => one[part]).filter((one) => typeof one === "number");
    return known.length ? `${name} at most ${unit(Math.max(...known))}` : `${name}: none`;
  });
  const words = `${title}. Now: ${now.map((one) => `${one.name} ${unit(one.value)}`).join(", ")}. In 15 minutes: ${most.join(", ")}.`;
  return h(
    "figure",
    { class: "card chart" },
    h(
      "figcaption",
      null,
      h("h3", null, title),
      h(
        "ul",
        { class: "legend" },
        now.map((one) =>
          h(
            "li",
            null,
            key(one.kind),
            h("span", null, one.name),
            h("strong", null, unit(one.value)),
          ),
        ),
      ),
    ),
    h(
      "div",
      { class: "plot" },
      h(
        "svg",
        {
          viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
          preserveAspectRatio: "none",
          role: "img",
          "aria-label": words,
        },
        h("path", {
          class: "grid",
          d: `M0 1H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 1}H${WIDTH}`,
        }),
        lines.map(({ part, kind }) =>
          h("path", { class: `line ${kind}`, d: path(samples, part, { top, end, interval }) }),
        ),
      ),
      h("span", { class: "top", "aria-hidden": "true" }, unit(top)),
    ),
    h(
      "div",
      { class: "axis", "aria-hidden": "true" },
      h("span", null, clock(end - WINDOW_SECONDS)),
      h("span", null, clock(end)),
    ),
  );
}

function key(kind) {
  return h(
    "svg",
    { class: "key", viewBox: "0 0 20 8", "aria-hidden": "true" },
    h("path", { class: `line ${kind}`, d: "M1 4H19" }),
  );
}

// A gap in the samples, or a moment without a figure, is a gap in the line.
function path(samples, part, { top, end, interval }) {
  let drawn = "";
  let before = -Infinity;
  for (const one of samples) {
    const value = one[part];
    const x = WIDTH * (1 - (end - one.at) / WINDOW_SECONDS);
    if (typeof value !== "number" || x < 0) {
      before = -Infinity;
    } else {
      const y = HEIGHT - 2 - (value / top) * (HEIGHT - 6);
      const joined = one.at - before <= 3 * interval;
      drawn += `${joined ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
      // A point alone would not show.
      if (!joined) drawn += "h0.01";
      before = one.at;
    }
  }
  return drawn || "M0 0";
}

function ceiling(number) {
  if (number <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= number);
}
