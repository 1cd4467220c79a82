"""The operators' port: metrics, probes, status. For eyes inside the house, yet without any key.

`pages` says what is shown, as plain values; `server` carries it over HTTP. Whatever is shown comes
from callables that were handed in: nothing here knows of boards, loops or events.

Words: *live* means the loop turns; *ready*, that every deployment has flags and we are to stay.
"""
