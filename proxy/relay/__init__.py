"""What only Amplitude can tell of a user: asked for, kept for a while, never waited for long.

A *question* is one user, some flags and a deployment; a *reply* is either the *variants* that
Amplitude gives or the *trouble* why there are none. Equal questions share one *flight*, a call
under way. A *breaker* lets a deployment rest whose calls fail. Nothing here decides what is asked
of Amplitude and what is evaluated here, save `others`; nothing speaks HTTP.

*Copies* are the same idea for what pages ask for: whole documents, fresh for a while, given longer
when nothing better is to be had.
"""
