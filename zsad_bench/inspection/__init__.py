"""One's own images without labels: scores, maps, and decisions at a threshold."""
