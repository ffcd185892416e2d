"""A read-only web page over the store: champions, candidates, history, and what answers now."""
