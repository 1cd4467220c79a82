// Drives OpenFeature's official OFREP providers, unmodified: the server's and the web's.
// Reads one job as JSON from standard input; writes one line of JSON for each thing that it finds.
'use strict';

const EventSource = require('eventsource');
const Server = require('@openfeature/server-sdk');
const Web = require('@openfeature/web-sdk');
const { OFREPProvider } = require('@openfeature/ofrep-provider');
const { OFREPWebProvider } = require('@openfeature/ofrep-web-provider');

// What a browser would have.
globalThis.EventSource = EventSource;
const items = new Map();
globalThis.localStorage = {
  getItem: (name) => (items.has(name) ? items.get(name) : null),
  setItem: (name, text) => items.set(name, String(text)),
  removeItem: (name) => items.delete(name),
};

const say = (found) => process.stdout.write(`${JSON.stringify(found)}\n`);
const METHODS = {
  boolean: 'getBooleanDetails',
  string: 'getStringDetails',
  number: 'getNumberDetails',
  object: 'getObjectDetails',
};

function detailsOf(client, { key, type, fallback }, ...context) {
  return client[METHODS[type]](key, fallback, ...context);
}

async function server({ proxy, headers, contexts, questions }) {
  const provider = new OFREPProvider({ baseUrl: proxy, headers });
  await Server.OpenFeature.setProviderAndWait(provider);
  const client = Server.OpenFeature.getClient();
  for (const context of contexts) {
    const found = [];
    for (const question of questions) found.push(await detailsOf(client, question, context));
    say(found);
  }
}

// Says what all questions give for the first context, then for each further one, and then again
// after each change that the proxy tells of.
async function web({ proxy, headers, contexts, questions, changes }) {
  const [first, ...others] = contexts;
  await Web.OpenFeature.setContext(first);
  const provider = new OFREPWebProvider({ baseUrl: proxy, headers });
  await Web.OpenFeature.setProviderAndWait(provider);
  const client = Web.OpenFeature.getClient();
  const all = () => questions.map((question) => detailsOf(client, question));
  say(all());
  for (const context of others) {
    await Web.OpenFeature.setContext(context);
    say(all());
  }
  for (let left = changes ?? 0; left > 0; left -= 1) {
    const changed = await new Promise((resolve) => {
      const hear = ({ flagsChanged }) => {
        client.removeHandler(Web.ProviderEvents.ConfigurationChanged, hear);
        resolve(flagsChanged);
      };
      client.addHandler(Web.ProviderEvents.ConfigurationChanged, hear);
    });
    say({ changed, found: all() });
  }
}

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const job = JSON.parse(Buffer.concat(chunks).toString());
  await { server, web }[job.work](job);
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
