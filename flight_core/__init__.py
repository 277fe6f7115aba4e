"""The hexagon: domain rules, use cases, ports, and the adapters that plug into them."""
