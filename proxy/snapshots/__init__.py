"""What we hold: for each deployment, all that is needed to answer, swapped by one assignment.

The board is the only owner of what is in force. Sync publishes on it, the API reads it, and
neither knows the other. Nothing here fetches, compiles, or decides what may replace what.

Words: a *deployment* is what a key opens; a *snapshot* is its flags at one moment, immutable; a
*slot* is its place on the board; a key is *authorised* while it has a slot.
"""
