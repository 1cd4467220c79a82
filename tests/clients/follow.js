// Drives the official Node SDK, unmodified, in local evaluation with streaming, and writes a line
// for each variant that a flag takes. Reads one job as a line of JSON; ends with its input.
'use strict';

const { Experiment } = require('@amplitude/experiment-node-server');

const readline = require('node:readline');

// The client's clock runs faster for whatever takes long, so that a test need not wait for it.
function hurry(times) {
  for (const name of ['setTimeout', 'setInterval']) {
    const usual = globalThis[name];
    globalThis[name] = (call, millis, ...rest) =>
      usual(call, millis >= 5000 ? millis / times : millis, ...rest);
  }
}

async function follow({ proxy, key, flag, user, pollingMillis, times }) {
  if (times) hurry(times);
  const client = Experiment.initializeLocal(key, {
    serverUrl: proxy,
    streamUpdates: true,
    streamServerUrl: proxy,
    flagConfigPollingIntervalMillis: pollingMillis,
  });
  await client.start();
  let last;
  setInterval(() => {
    const variant = client.evaluateV2(user)[flag]?.key ?? 'none';
    if (variant !== last) process.stdout.write(`${variant}\n`);
    last = variant;
  }, 20);
}

const input = readline.createInterface({ input: process.stdin });
input.once('line', (line) => follow(JSON.parse(line)).catch((error) => {
  console.error(error);
  process.exit(1);
}));
input.on('close', () => process.exit(0));
