"""What the rows of a dataset have to be like."""
