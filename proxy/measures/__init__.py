"""The metrics by area; `proxy.metrics` has all of them on one object.

Each area is a base class of `Metrics`: one method makes the metrics of one capability.
"""
