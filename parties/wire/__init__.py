"""The wire: identity by pinned certificate, TLS, and gRPC behind the channel interface."""
