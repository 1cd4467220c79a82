// What the proxy was asked, and what it said last.

import { sorted } from "./flags.js";

const MOST_MILLIS = 8000;
const CHANGES = 200;
/** The feed tells of a change a little later than the status. */
const SETTLED_SECONDS = 10;

/** All that is known; `answers` is "asking", "yes", "silent" or "login". */
export const seen = {
  answers: "asking",
  since: now(),
  heard: null,
  why: "",
  status: null,
  parts: null,
  traffic: null,
  flags: null,
  changes: [],
};
/** What flags and changes were asked for at; they are asked for again when the status differs. */
const asked = { flags: "", changes: "", until: 0 };
let turn = 0;

/** Seconds since 1970. */
export function now() {
  return Date.now() / 1000;
}

/** The wished deployment (the hash of its key), or the first; "" where there is none. */
export function chosen(wish) {
  const ids = seen.status.deployments.map((one) => one.key);
  return ids.includes(wish) ? wish : (ids[0] ?? "");
}

/** All deployments to choose from: the hash that tells them apart, and a name for people. */
export function choices() {
  const labels = seen.status.deployments.map((one) => one.deployment);
  return seen.status.deployments.map(({ key, deployment: label, project }) => {
    const isUnique = labels.indexOf(label) === labels.lastIndexOf(label);
    return { id: key, label, name: isUnique ? label : `${label} (${project})` };
  });
}

class LoginNeeded extends Error {}
class Mistaken extends Error {}

async function get(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(MOST_MILLIS), cache: "no-store" });
  if (answer.status === 401) throw new LoginNeeded();
  // "Not ready" is an answer too, and says why.
  if (!answer.ok && answer.status !== 503) {
    throw new Mistaken(`The proxy answers ${answer.status} to ${path}.`);
  }
  return answer.json();
}

/** Ask for everything, the flags of one deployment; false when it was asked anew meanwhile. */
export async function ask(wish) {
  const mine = (turn += 1);
  try {
    await askState(mine);
    if (mine === turn) await askDetails(wish, mine);
  } catch (error) {
    if (mine === turn) note(error);
  }
  return mine === turn;
}

async function askState(mine) {
  const paths = ["status", "readyz", "status/traffic"];
  const [status, ready, traffic] = await Promise.all(paths.map(get));
  if (mine !== turn) return;
  const restarted = seen.status !== null && seen.status.started_at !== status.started_at;
  if (restarted || seen.answers === "silent") asked.flags = asked.changes = "";
  Object.assign(seen, {
    answers: "yes",
    heard: now(),
    status,
    parts: ready.parts ?? null,
    traffic,
  });
}

function note(error) {
  const answers = error instanceof LoginNeeded ? "login" : "silent";
  if (seen.answers !== answers) seen.since = now();
  seen.answers = answers;
  seen.why = error instanceof Mistaken ? error.message : "";
}

// These are large, and change seldom: they are asked for when the status says that they did.
async function askDetails(wish, mine) {
  const deployment = chosen(wish);
  const signs = new Map(seen.status.deployments.map((one) => [one.key, sign(one)]));
  if (!deployment) {
    seen.flags = null;
  } else if (asked.flags !== signs.get(deployment)) {
    const flags = await get(`status/flags?deployment=${encodeURIComponent(deployment)}`);
    if (mine !== turn) return;
    seen.flags = { ...flags, flags: sorted(flags.flags) };
    asked.flags = signs.get(deployment);
  }
  const all = [...signs.values()].join();
  if (asked.changes !== all) asked.until = now() + SETTLED_SECONDS;
  asked.changes = all;
  if (now() >= asked.until) return;
  const { changes } = await get(`status/changes?limit=${CHANGES}`);
  if (mine === turn) seen.changes = changes;
}

function sign({ deployment, version, changed_at: changedAt, left_out: leftOut, waiting }) {
  return JSON.stringify([deployment, version, changedAt, leftOut, waiting]);
}
