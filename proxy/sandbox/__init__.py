"""A stand-in for Amplitude on one machine: a real server whose flags come from a file people edit.

Here live the file's format (`reading`, `targeting`, `flags`, `world`), what Amplitude's interfaces
answer (`server`, `ingest`, `remote`, `web`) and the watching of the file (`watch`). Nothing outside
the tests and the command line uses it.

Words: a *world* is all that the file describes; a *mistake* is what is wrong in it, and where.
"""
