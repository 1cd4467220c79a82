"""From the answer to Amplitude's analytics: what is told of it, once, and surely.

`tracker` is the door: one call per answer, which awaits nothing and raises nothing. Behind it, in
the order of travel: `sieve` lets through what was not told today, by its key (`sameness`, pure) and
the memory of keys (`dedupe`, pure), `retelling` offers the same answer again and again at next to
no cost, `encoder` has events made of what is new, `assignment`, `exposure`,
`canonical`, `subject` and `encoding` (pure) say what they hold, `spool` keeps what waits, on disk
or in memory, `sender` makes one project's events travel, `batches` (pure) cuts what fits one
request, `answers` (pure) reads what upstream said, `tally` counts. Another door is `uploads`, for
events that analytics SDKs made: `ingest` and `received` (pure) say which are taken, and `tracker`
passes them on. Behind the spool: `queue` and its two `lane`s know where each event of a project is,
`ages` what is too old, `strangers` what waits for nobody, `disk` works beside the loop in its
`worker`, `spool_file` is the file, in its `spool_folder`. Behind the sender: `standing` remembers
how upstream is, `due` and `backoff` say when. Nothing here evaluates a flag or opens a socket.

Words: an answer is *offered* by the request, *filtered* when it was told within a day, *fresh*
until its events are encoded. An event is *accepted* then, *pending* until upstream answered,
*spooled* when it is on disk, *kept* while it is in memory as well, *lent* while the sender has it,
*held* while upstream wants it later, *settled* when upstream has answered for it: *sent* when it
acknowledged it, *dropped* when it is lost for good. A *lane* is *live* or *backlog*.
"""
