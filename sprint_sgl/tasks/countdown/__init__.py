"""Countdown: problems, the benchmark task, and the checker of answers (paper, section 4.1)."""
