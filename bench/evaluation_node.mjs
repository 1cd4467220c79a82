// The vendor's engine on Node: reads {"flags", "contexts", "rounds"} on standard input, writes
// the microseconds of each warm round per evaluation of all flags, and the variants it gave.
import core from '@amplitude/experiment-core';
import { readFileSync } from 'node:fs';

const WARM_UP = 30;

const { flags, contexts, rounds } = JSON.parse(readFileSync(0, 'utf8'));
const engine = new core.EvaluationEngine();
const sorted = core.topologicalSort(
  Object.fromEntries(flags.map((flag) => [flag.key, flag])),
);

const round = () => {
  const began = process.hrtime.bigint();
  for (const context of contexts) engine.evaluate(context, sorted);
  return Number(process.hrtime.bigint() - began) / 1000 / contexts.length;
};

for (let i = 0; i < WARM_UP; i++) round();
const micros = Array.from({ length: rounds }, round);
const variants = contexts.map((context) =>
  Object.fromEntries(
    Object.entries(engine.evaluate(context, sorted)).map(([key, { key: variant }]) => [key, variant]),
  ),
);
process.stdout.write(JSON.stringify({ micros, variants }));
