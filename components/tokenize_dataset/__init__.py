"""Turn the training and validation texts into token ids, with serving's own encoding."""
