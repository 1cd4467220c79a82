"""Writes what is generated: README tables, JSON schema, example; tests hold them to the code."""

from pathlib import Path

from proxy.instruments import PREFIX
from proxy.metrics import Metrics
from proxy.settings import documents

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def metrics_table() -> str:
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    metrics = Metrics()
    metrics.http_seconds.labels("GET", "/", 200)
    for series in vars(metrics).values():
        if hasattr(series, "_labelnames") and series._labelnames:
            series.labels(*series._labelnames)
    for family in metrics.registry.collect():
        if not family.name.startswith(PREFIX):
            continue  # the process's own, which every Prometheus client has
        name = family.name.removeprefix(PREFIX) + ("_total" if family.type == "counter" else "")
        found = dict.fromkeys(label for sample in family.samples for label in sample.labels)
        labels = ", ".join(f"`{label}`" for label in found if label != "le")
        rows.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(rows)


def with_block(text: str, name: str, block: str) -> str:
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    head, rest = text.split(begin)
    tail = rest.split(end)[1]
    return f"{head}{begin}\n{block}\n{end}{tail}"


def readme() -> str:
    text = with_block(README.read_text(), "settings", documents.settings_table())
    return with_block(text, "metrics", metrics_table())


if __name__ == "__main__":
    documents.write(ROOT)
    README.write_text(readme())
