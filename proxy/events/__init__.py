"""From the answer to Amplitude's analytics: which assignments are told, once, and surely.

`tracker` is the door: one call per answer, which awaits nothing and raises nothing. Behind it, in
the order of travel: `assignment` and `canonical` (pure) say what an event holds, `dedupe` (pure)
whether it was told today, `spool` keeps what waits, on disk or in memory, `sender` makes one
project's events travel, `batches` (pure) cuts what fits one request, `answers` (pure) reads what
upstream said, `tally` counts. Behind the spool: `queue` knows where each event of a project is,
`disk` works beside the loop, `spool_file` is the file. Behind the sender: `due` and `backoff` say
when. Nothing here evaluates a flag or opens a socket.

Words: an event is *offered* by the request, *filtered* when it was told within a day, *fresh* until
it is encoded, *pending* until upstream answered, *spooled* when it is on disk, *lent* while the
sender has it, *held* while upstream wants it later, *settled* when upstream has answered for it:
*sent* when it acknowledged it, *dropped* when it is lost for good. A *lane* is *live* or *backlog*.
"""
