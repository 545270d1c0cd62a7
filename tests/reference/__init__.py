"""The slow, obvious second version of every rule and operation, written from the formulas alone."""
