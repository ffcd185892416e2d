"""Score the candidate and the champion on the same test rows with serving's classifier."""
