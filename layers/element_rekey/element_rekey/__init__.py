"""Element Rekey: replace the master key of NetApp Element clusters, exactly once, and prove it."""
