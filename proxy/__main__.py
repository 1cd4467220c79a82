"""`evaluation-proxy` and `python -m proxy`: the command line, started quickly."""

import gc


def main() -> int:
    """Run the command line and return its exit code."""
    # Loading the program makes no garbage; looking for some takes a tenth of the start.
    gc.disable()
    from proxy.cli.main import main as run  # noqa: PLC0415  only now

    gc.enable()
    return run()


if __name__ == "__main__":
    raise SystemExit(main())
