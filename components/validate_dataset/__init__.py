"""Find what is wrong with a dataset, repair it by rule, and cut the splits."""
