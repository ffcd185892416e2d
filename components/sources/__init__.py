"""Where datasets and models come from: files, addresses, archives, package distributions."""
