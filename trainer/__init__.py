"""The machine's side of gpu: a data set in, weights, submission and report out. Importing it imports no torch."""
