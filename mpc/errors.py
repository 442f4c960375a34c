"""Errors that end a computation. Every message may be shown to a user and sent to a peer: none carries a secret."""


class ComityError(Exception):
    """A failure with a message for people: what was wrong, where, and what to do."""


class ProtocolError(ComityError):
    """A protocol was called in a way that it cannot serve (wrong shapes, no triples, a value out of range)."""


class PeerError(ComityError):
    """A peer stopped, stalled, or sent something that does not belong at this step."""

    def __init__(self, peer: int, message: str) -> None:
        super().__init__(message)
        self.peer = peer
