// Stands for a web page: loads the script of web experiments from the proxy and lets the official
// browser client, unmodified, evaluate what comes. Reads one job as JSON from standard input and
// writes for every user what the page knows and did in the end.
'use strict';

const vm = require('node:vm');
const Browser = require('@amplitude/experiment-js-client');

const storage = () => {
  const items = new Map();
  return {
    getItem: (name) => (items.has(name) ? items.get(name) : null),
    setItem: (name, text) => items.set(name, String(text)),
    removeItem: (name) => items.delete(name),
  };
};

async function visit({ proxy, key, query }, user, number) {
  globalThis.localStorage = storage();
  globalThis.sessionStorage = storage();
  const heading = { innerHTML: 'as it was' };
  const src = `${proxy}/script/${key}.experiment.js${query ?? ''}`;
  const answer = await fetch(src);
  if (answer.status !== 200) throw new Error(`script: ${answer.status}`);
  const config = {
    // With a slash at its end, as the vendor's guide has it.
    flagsServerUrl: `${proxy}/`,
    instanceName: `page-${number}`,
    // Not what is tested: a busy machine must not decide what a page shows.
    fetchTimeoutMillis: 60000,
    user,
  };
  globalThis.window = { Experiment: Browser, experimentConfig: config };
  globalThis.document = {
    currentScript: { src },
    referrer: '',
    cookie: '',
    querySelectorAll: (selector) => (selector === 'h1' ? [heading] : []),
  };
  const text = await answer.text();
  const { window } = globalThis;
  vm.runInThisContext(text);
  const { variants, error, integration } = await window.webExperiment;
  return { variants, error, integration, heading: heading.innerHTML };
}

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const job = JSON.parse(Buffer.concat(chunks).toString());
  const found = [];
  for (const [number, user] of job.users.entries()) found.push(await visit(job, user, number));
  process.stdout.write(JSON.stringify(found), () => process.exit(0));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
