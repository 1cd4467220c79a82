"""The pure core: flag configs and users in, variants out.

Decode a deployment's flag configs, compile them to one generated function, evaluate users with it.
Beside it stands an interpreter, slow and obvious, that also tells why: the oracle of the tests.
Nothing here knows a clock, a log, a socket or the environment. What cannot be used comes back
as a list of named problems; the caller decides whom to tell.

Words: a *flag* has *segments*; a segment has *conditions* and a *bucket*; the *outcome* of a flag
is one variant chosen by one segment.
"""
