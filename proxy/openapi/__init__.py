"""What both ports say of themselves: OpenAPI 3.1, written by hand, served as it fits the settings.

`clients.yaml` and `operators.yaml` are the text; tests send what they describe to a running proxy
and hold them to its routes. `conditions` says when a part of them is true, `document` takes out
what is not. Nothing here knows of routes or sockets.
"""
