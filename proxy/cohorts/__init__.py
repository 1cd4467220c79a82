"""Cohorts as we hold them: who is a member, answered from immutable files mapped into memory.

A body that was downloaded is read in pieces, in a process of its own, and becomes an index of
hashes and a packed body for SDKs. The shelf is the only owner of the cohorts in use. Nothing here
asks upstream, and nothing decides which cohorts are wanted.

Words: a *member* is a user id or a group name; a *digest* is its 128-bit hash; an *index* is a
sorted file of digests; *building* makes it; a *membership* is one member's being in one cohort.
"""
