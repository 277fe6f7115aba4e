"""Speed, measured side by side. Not part of the package, never imported by it."""
