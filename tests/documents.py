"""Writes what is generated: README tables, JSON schema, example; tests hold them to the code."""

from pathlib import Path

from proxy.metrics import Metrics
from proxy.settings import documents

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def metrics_table() -> str:
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for metric in vars(Metrics()).values():
        for one in metric.values() if isinstance(metric, dict) else [metric]:
            if hasattr(one, "_labelnames"):
                name = one._name.removeprefix("amplitude_proxy_")
                name += "_total" if one._type == "counter" else ""
                labels = ", ".join(f"`{label}`" for label in one._labelnames)
                rows.append(f"| `{name}` | {one._type} | {labels} | {one._documentation} |")
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
