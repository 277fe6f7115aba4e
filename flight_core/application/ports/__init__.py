"""What the use cases ask of the outside: one small Protocol a role."""
