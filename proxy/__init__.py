"""An edge proxy for Amplitude Experiment: it syncs, evaluates, reports and shows what it does."""

__version__ = "0.1.0"
