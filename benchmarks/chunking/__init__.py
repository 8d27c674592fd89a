"""What the size of chunks, overlap and context around them are worth, and what they cost."""
