"""Snapshots as files: what a data directory holds, carried to a site that cannot ask Amplitude.

An archive is written from one data directory and read into another, or refused as a whole. It is
a tar file whose every byte is known from its manifest, and the manifest is signed. No key is in it.

Words: an *archive* is the file (operators call it a snapshot); a *member* is a file in it; its
*facts* are what the manifest says; a *signer* is known by the fingerprint of its public key.
"""
