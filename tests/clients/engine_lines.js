// Evaluates JSON lines with the vendor's JavaScript engine: one result object, or error, a line.
'use strict';

const readline = require('node:readline');
const { EvaluationEngine, topologicalSort } = require('@amplitude/experiment-core');

const engine = new EvaluationEngine();

function contextOf(user) {
  const { groups, group_properties: properties, group_cohort_ids: cohorts, ...rest } = user;
  const context = { user: rest };
  for (const [type, [name]] of Object.entries(groups ?? {})) {
    const group = { group_name: name };
    const own = properties?.[type]?.[name];
    const ids = cohorts?.[type]?.[name];
    if (own) group.group_properties = own;
    if (ids) group.cohort_ids = ids;
    context.groups = { ...context.groups, [type]: group };
  }
  return context;
}

function evaluate({ flags, user, flag_keys: keys }) {
  const byKey = Object.fromEntries(flags.map((flag) => [flag.key, flag]));
  return engine.evaluate(contextOf(user), topologicalSort(byKey, keys));
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  let answer;
  try {
    answer = evaluate(JSON.parse(line));
  } catch (error) {
    answer = { error: String(error) };
  }
  console.log(JSON.stringify(answer));
});
