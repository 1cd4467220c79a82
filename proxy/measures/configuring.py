"""Which configuration is in force, and how attempts to replace it ended."""

from __future__ import annotations

from proxy.measures.registered import Registered


class Configuring(Registered):
    """Which configuration is in force, and how attempts to replace it ended."""

    def _configure(self) -> None:
        self.config_reloads = self._counter(
            "config_reload",
            "Times that the configuration was read again, by outcome: applied, unchanged, refused"
            " (a mistake, or something that needs a restart) or failed (a defect).",
            "outcome",
        )
        self.config_last_successful = self._gauge(
            "config_last_reload_successful",
            "1 when the configuration as it is written now is in force, else 0.",
        )
        self.config_last_at = self._gauge(
            "config_last_reload_timestamp_seconds",
            "When the configuration in force was read, in seconds since 1970.",
        )
        self.config_info = self._gauge(
            "config_info",
            "1 for the configuration in force, by a hash of all settings; no key can be told from"
            " it.",
            "hash",
        )
