"""Patterns as java.util.regex (JDK 17) understands them, answered by engines that can be bounded.

A pattern is parsed as Java parses it, refused as Java refuses it, and written out again for
two engines: RE2, whose time is linear in the text, and for what RE2 cannot say (look-around,
back references, possessive quantifiers, set intersections of properties) a backtracking engine
under a time limit. The only question answered is whether the *whole* text matches.

Nothing here searches, replaces or reports groups, and nothing knows a clock.

Words: a *pattern* is Java's text; a *charset* is a set of code points; *linear* and
*backtracking* name the two engines; a *problem* says why a pattern matches nothing; a *time-out*
is a match given up; a *budget* bounds the work of one evaluation.
"""
