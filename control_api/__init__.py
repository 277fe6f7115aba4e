"""The control plane: HTTP and WebSocket."""
