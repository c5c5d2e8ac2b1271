"""Intervals and correlations: all are of the middle `LEVEL` of as many resamples, drawn under one seed."""

RESAMPLES, LEVEL, SEED = 1000, 0.95, 0
