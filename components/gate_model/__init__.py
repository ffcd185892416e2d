"""Judge the candidate by the run's rules; the verdict is data."""
