"""What the columns of a version are like."""
