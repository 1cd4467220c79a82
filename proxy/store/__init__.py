"""The data directory: what outlives the process, and the medium of a warm start.

Records are kept under a kind and an id, and whatever is current is written as soon as the disk
allows. A state is a manifest that names immutable files; it is complete or it is not there.
Nothing here knows what a record means.

Words: a *record* is what is kept under one kind and id; its *meta* is small and may change
softly; its *files* are immutable; a *commit* makes the manifest agree with what is kept; the
*workspace* is where large files are made.
"""
