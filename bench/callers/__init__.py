"""Clients of the Element API, each in a process of its own that answers how long its calls took.

They run as ``python -m bench.callers.<name>``, in whichever environment their client is installed, so they import
nothing of this project but ``protocol`` and what they measure.
"""
