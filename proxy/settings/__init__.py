"""What the operator decides: one file, the environment, and nothing else.

`schema` holds every setting as a typed, frozen struct: its meaning, unit, limits and default. From
it come the loading (`load`), the JSON schema, the example and the README's table (`documents`).
Everything wrong is said at once; no sentence ever holds a secret. Nobody else reads the
environment, and nothing here opens a socket. Settings never change: `source` notices that they are
written anew, `changes` says what differs and what of it needs a restart.

Words: a *document* is a file as written; a *leaf* is one setting that takes a value; a value that
was *given* remembers where; a *mistake* stops the start; a *notice* is only said.
"""
