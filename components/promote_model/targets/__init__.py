"""Where a promotion takes effect: one small interface, an endpoint here or on a cluster."""
