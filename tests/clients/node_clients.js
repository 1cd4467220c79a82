// Drives the official Node and browser SDKs, unmodified, and the vendor's JavaScript engine.
// Reads one job as JSON from standard input and writes the variants of every user as JSON, or what
// became of every event.
'use strict';

const { EvaluationEngine, topologicalSort } = require('@amplitude/experiment-core');
const Node = require('@amplitude/experiment-node-server');
const Browser = require('@amplitude/experiment-js-client');
const Analytics = require('@amplitude/analytics-node');

// The browser SDK stores variants where a browser would; this is what it finds under Node.
const storage = () => {
  const items = new Map();
  return {
    getItem: (name) => (items.has(name) ? items.get(name) : null),
    setItem: (name, text) => items.set(name, String(text)),
    removeItem: (name) => items.delete(name),
  };
};
globalThis.localStorage ??= storage();
globalThis.sessionStorage ??= storage();

function contextOf(user) {
  const { groups, group_properties: properties, ...rest } = user;
  const context = { user: rest };
  if (groups) {
    context.groups = {};
    for (const [type, [name]] of Object.entries(groups)) {
      context.groups[type] = { group_name: name };
      const own = properties?.[type]?.[name];
      if (own) context.groups[type].group_properties = own;
    }
  }
  return context;
}

async function oracle({ flags, users }) {
  const engine = new EvaluationEngine();
  const sorted = topologicalSort(Object.fromEntries(flags.map((flag) => [flag.key, flag])));
  return users.map((user) => engine.evaluate(contextOf(user), sorted));
}

async function nodeRemote({ proxy, key, users }) {
  const client = Node.Experiment.initializeRemote(key, { serverUrl: proxy, fetchRetries: 0 });
  const found = [];
  for (const user of users) found.push(await client.fetchV2(user, { tracksAssignment: true }));
  return found;
}

async function nodeLocal({ proxy, key, users, streaming, cohorts }) {
  const client = Node.Experiment.initializeLocal(key, {
    serverUrl: proxy,
    streamUpdates: streaming,
    streamServerUrl: proxy,
    cohortSyncConfig: cohorts,
  });
  await client.start();
  try {
    return users.map((user) => client.evaluateV2(user));
  } finally {
    client.stop();
  }
}

function browserClient({ proxy, key }, config) {
  return Browser.Experiment.initialize(key, {
    serverUrl: proxy,
    flagsServerUrl: proxy,
    automaticExposureTracking: false,
    retryFetchOnFailure: false,
    throwOnError: true,
    pollOnStart: false,
    ...config,
  });
}

async function browserRemote(job) {
  const found = [];
  for (const [number, user] of job.users.entries()) {
    const client = browserClient(job, { instanceName: `remote-${number}`, fetchOnStart: false });
    await client.fetch(user);
    found.push(client.all());
  }
  return found;
}

async function browserLocal(job) {
  const client = browserClient(job, { instanceName: 'local', fetchOnStart: false });
  await client.start(job.users[0]);
  const found = job.users.map((user) => {
    client.setUser(user);
    return client.all();
  });
  client.stop();
  return found;
}

async function analytics({ url, key, events }) {
  const client = Analytics.createInstance();
  const config = { serverUrl: url, flushQueueSize: 20, flushIntervalMillis: 50, logLevel: 0 };
  await client.init(key, config).promise;
  const tracked = events.map(({ event_type: type, ...rest }) => client.track(type, {}, rest).promise);
  return (await Promise.all(tracked)).map(({ code }) => code);
}

const WORK = { analytics, oracle, nodeRemote, nodeLocal, browserRemote, browserLocal };

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const job = JSON.parse(Buffer.concat(chunks).toString());
  const found = await WORK[job.work](job);
  process.stdout.write(JSON.stringify(found), () => process.exit(0));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
