"""The two functions of a fleet run: select the clusters, summarize what became of them."""
