"""What clients keep on the server between calls."""
