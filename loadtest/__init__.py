"""Load on Quarry: generated corpora here, traffic later."""
