"""Evaluate 20 flags for 1,000 users: the vendor's engines and ours, side by side in one run.

All four must give the same variants. Exits 1 when ours, with the encoded JSON answer, is less than
25 times as fast as the vendor's Python engine or not faster than the vendor's engine on Node.
"""

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from amplitude_experiment.evaluation.engine import EvaluationEngine
from amplitude_experiment.evaluation.types import EvaluationFlag

from bench import workload
from proxy.evaluation.deployment import answer, compile_deployment

HERE = Path(__file__).parent
FLAGS = 20
USERS = 1000
ROUNDS = 9
NODE_ROUNDS = 60
FLOOR_PYTHON = 25.0
FLOOR_NODE = 1.0

Variants = dict[str, str]


def micros(evaluate: Callable[[Any], object], users: list[Any]) -> float:
    """Microseconds per evaluation in one round over all users."""
    began = time.perf_counter()
    for user in users:
        evaluate(user)
    return (time.perf_counter() - began) / len(users) * 1e6


def on_node(contexts: list[Any]) -> tuple[list[float], list[Variants]]:
    told = {"flags": workload.flags(FLAGS), "contexts": contexts, "rounds": NODE_ROUNDS}
    ran = subprocess.run(
        ["node", HERE / "evaluation_node.mjs"],
        input=msgspec.json.encode(told),
        capture_output=True,
        check=True,
    )
    said = msgspec.json.decode(ran.stdout)
    return said["micros"], said["variants"]


def disagreements(ours: list[Variants], theirs: list[Variants], whose: str) -> int:
    wrong = sum(mine != other for mine, other in zip(ours, theirs, strict=True))
    if wrong:
        print(f"{wrong} of {USERS} users get other variants from the vendor's {whose} engine")
    return wrong


def main() -> int:
    if not shutil.which("node") or not (HERE / "node_modules").exists():
        print("bench/evaluation.py needs Node, and `npm ci` run in bench/")
        return 2
    users = workload.users(USERS)
    contexts = [{"user": user} for user in users]
    deployment = compile_deployment(workload.flags_json(FLAGS))
    engine = EvaluationEngine()
    flags = EvaluationFlag.schema().load(workload.flags(FLAGS), many=True)

    contenders: dict[str, tuple[Callable[[Any], object], list[Any]]] = {
        "vendor, Python": (lambda context: engine.evaluate(context, flags), contexts),
        "ours": (deployment.evaluate, users),
        "ours, with the JSON answer": (lambda user: answer(deployment.evaluate(user)), users),
    }
    rounds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, (evaluate, given) in contenders.items():
            rounds[name].append(micros(evaluate, given))
    rounds["vendor, Node (warm)"], node_variants = on_node(contexts)
    medians = {name: statistics.median(found) for name, found in rounds.items()}

    print(f"{FLAGS} flags, {USERS} users; microseconds per evaluation of all flags, medians")
    for name, median in sorted(medians.items(), key=lambda item: -item[1]):
        print(f"  {name:28} {median:8.2f}   best round {min(rounds[name]):8.2f}")
    ratio_python = medians["vendor, Python"] / medians["ours, with the JSON answer"]
    ratio_node = medians["vendor, Node (warm)"] / medians["ours, with the JSON answer"]
    print(f"  with the answer: {ratio_python:.1f} x the vendor's Python (floor {FLOOR_PYTHON:g}),")
    print(f"  {ratio_node:.1f} x the vendor's Node (floor {FLOOR_NODE:g})")

    ours = [
        {found.flag_key: found.variant_key for found in deployment.evaluate(user)} for user in users
    ]
    python_variants = [
        {key: variant.key for key, variant in engine.evaluate(context, flags).items()}
        for context in contexts
    ]
    wrong = disagreements(ours, python_variants, "Python")
    wrong += disagreements(ours, node_variants, "Node")
    return 1 if wrong or ratio_python < FLOOR_PYTHON or ratio_node <= FLOOR_NODE else 0


if __name__ == "__main__":
    sys.exit(main())
