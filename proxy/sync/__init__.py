"""From upstream to the board: the only room that waits for Amplitude's flags.

A project has one deployments loop and one cohorts loop, a deployment one flags loop: a poll, and
beside it a stream where upstream offers one. `plan`, `schedule` and `holding` decide and are pure;
the loops carry it out. What upstream fails to give never takes anything off the board, and no
loop's death touches another. Nothing here answers a client or sends an event.

Words: an *attempt* ends with an *outcome*, which the *journal* keeps; a *verdict* is what became
of a body of flag configs; a body is *accepted* when it is good and the newest, and a flag of it
*waits* while a cohort that it targets is *pending*: on its way; a stream *delivers* once its first
array was taken; a deployment is *absent* while listings in a row leave it out; a *warm start*
restores what an earlier *life* of the process kept.
"""
