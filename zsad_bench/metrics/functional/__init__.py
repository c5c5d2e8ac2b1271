"""Pure functions of numpy arrays (CPU tensors are taken without a copy); no state, no device."""
