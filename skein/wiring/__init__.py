"""Settings -> adapters -> use cases -> servers. Nothing else knows every class."""
