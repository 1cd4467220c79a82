"""The command line: what may be typed, and what each command prints and returns.

Here live the parser and the exit codes (`main`), and one module for each command that does more
than hand settings to `run`. Nothing here decides what a flag config means or how a server works.

Words: a *line* is one case of bulk evaluation; a *drawing* is a trace for human eyes;
a *sheet* is how a running proxy is, on one screen, and the *verdict* whether that is well.
"""
