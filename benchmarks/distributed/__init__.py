"""The distributed mode on real servers: what it costs beside the embedded mode, and how long people wait for it."""
