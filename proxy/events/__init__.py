"""From the answer to Amplitude's analytics: which assignments are told, once, and surely.

`tracker` is the door: one call per answer, which awaits nothing and raises nothing. Behind it, in
the order of travel: `assignment` and `canonical` (pure) say what an event holds, `dedupe` (pure)
whether it was told today, `buffer` keeps what waits within a bound, `batches` (pure) cuts what
fits one request, `sender` makes one project's events travel, `answers` (pure) reads what upstream
said, `tally` counts. Nothing here evaluates a flag or opens a socket.

Words: an event is *offered* by the request, *filtered* when it was told within a day, *fresh* until
it is encoded, *pending* until upstream answered, *held* while upstream wants it later, *sent* when
upstream acknowledged it, *dropped* when it is lost for good.
"""
