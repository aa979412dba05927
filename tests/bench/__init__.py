"""Measurements: ratios against baselines of the same run, never bare times."""
