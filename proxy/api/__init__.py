"""The clients' port: what SDKs, browsers and REST users may ask, and what they get.

Two halves. The first knows nothing of sockets: `messages` are plain values, `routes` finds who
answers, `credentials` says for which deployment or project, `requests` reads users and flag keys in
every form the SDKs send, `vardata`, `flags`, `cohorts`, `memberships` and `health` answer one
resource each, `uploads` takes what analytics SDKs tell. The second carries those values over HTTP:
`server` (aiohttp's low level: listening and leaving), `connection` (time and size of one
connection), `parsing` (aiohttp's parser, watched), `carrier` (a request in, an answer out),
`bodies` (as they arrive), `outbox` (answers sent together), `downloads` (bodies that lie on disk,
in pieces), `wire` (answers as bytes), `packing` (gzip), `limits` (bodies), `sockets` (ceasing to
listen without losing anybody), `tally` (counting), `complaints` (a line now and then).

Who asks the same again is answered without evaluating: `editions` says what an answer follows from
beside the request, `answers` keeps them within a bound, `repeats` gives them again.

Streams stand with one foot in each half. `standing` keeps a connection that is only written to;
`stream_readers` tells each client what is newest, by `stream_turns` (who comes next),
`stream_wheel` (keep-alives) and `stream_unread` (slow readers); `streams` and `stream_variants`
are what is told.

The public edge has rooms of its own. `admission` says who is answered and who is to come back:
`addresses` (whose request it is), `rates` (buckets), `overload` (whether the process keeps up),
`doorman` (who may be connected), `pauses` (who is not listened to for a moment, and who queues).
`cors` and `origins` say which pages may read an answer, `garbage` what is said to no request.

What is configured may change at any time: `in_force` holds the limits, and tells the others.

Nothing here fetches, stores or reports: flags come from the board, cohorts from a callable that
finds their files; assignments, exposures and uploads go to `reports`, which are callables too.

Words: a *request* is a value with its body; an *exchange* is a request that was let in and waits
for its body; a *target* is path and query as they came; to *leave* is to answer on while saying
goodbye. An *edition* is what is in force for a deployment for a while, flags and cohorts; a *tag*
stands for an answer, in `ETag`.
"""
