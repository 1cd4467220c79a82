"""The composition root: what is made of what, the order of opening and closing, how a stop goes.

All rooms meet here, and only here. Nothing here decides what is answered, fetched or kept.
`reloading` replaces the settings while all is open, `applying` knows who is told of it.

Words: the *house* is all that is open while the proxy serves; a *loop* is a room's background
work, guarded; a *stop* is asked for by a signal, and hurried by a second one.
"""
