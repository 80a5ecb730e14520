"""What `sprint-sgl bench` and `sprint-sgl report` are made of."""
