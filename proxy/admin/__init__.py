"""The operators' port: metrics, probes, status, explanations. For eyes inside, yet without any key.

Pages are plain values; `server` carries them over HTTP, and `guard` stands in front of it. What
belongs to sync, events or the clients' port comes from callables that were handed in; flags are
read off the board.

Words: *live* means the loop turns; *ready*, that every deployment has flags and we are to stay; a
*change* is a difference between a deployment's flags and those before; a *visit* is a connection.
"""
