"""The local platform: every real component on one machine, started in order, watched, and stopped without a trace.

It knows services by their command lines only and imports no tier. Whatever it starts carries the platform's token in
its environment, so that a clean-up finds every descendant, also those that left their process group.
"""
