"""Parties that run one at a time, over links whose order, faults and time a seed decides.

Each party is a thread, but a baton goes round: a party keeps it until it sends or receives, and who gets it next, or
which message arrives next, is drawn from the seed. Time stands still while anybody can go on; then it jumps to the next
moment at which something happens. So nothing sleeps, and one seed is one run.
"""

import hashlib
import queue
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mpc.channel import Item, Payload, Tag
from mpc.schemes import DEALER, PartyId

STUCK = 60.0
"""Real seconds without the baton coming back: a party waits for something outside of the simulation."""
LONGEST = 3600.0
"""Virtual seconds, more than any schedule takes."""
STEPS = 20_000
"""More than any run takes: beyond, the parties go round in circles."""


@dataclass(frozen=True)
class Fault:
    """`kind` happens to message `number` (from 0) of those that `party` sends; for a "crash", to the party before its
    step `number`, a step being a send or a receive.

    "delay": it is `seconds` under way, and what follows on its link waits behind it. "hold": it arrives after the party's
    later message `other`, to another party, and again what follows waits behind it. "reorder": it arrives after message
    `other`, on its own link. "duplicate": it comes once more, at once or after message `other`. "cut": it and all later
    ones to that peer are lost; "cut both": and all from that peer, those under way included. "drop", "size" and "tag":
    it is lost, one byte short, of another step."""

    kind: str
    party: PartyId
    number: int
    other: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Message:
    sender: PartyId
    receiver: PartyId
    number: int
    tag: Tag
    content: bytes


@dataclass
class _Flight:
    """On its way: not before the time `due`, nor (while others can go on) before message `after` of its sender."""

    item: Item
    number: int
    due: float = 0.0
    after: int | None = None
    is_overtaken: bool = True
    """While it waits for message `after`, by what follows on its link."""


def _taken() -> threading.Lock:
    """A lock that waits until somebody releases it; much faster than a semaphore."""
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass
class _Wait:
    link: "SimulatedLink"
    since: float
    until: float | None


class Stopped(BaseException):
    """Ends a party's thread where it stands: it crashed, or the simulation is over."""


@dataclass
class _Party:
    me: PartyId
    baton: threading.Lock = field(default_factory=_taken)
    steps: int = 0
    sent: int = 0
    waits: _Wait | None = None
    ended: bool = False
    result: Any = None


@dataclass
class Result:
    """What came of a run. `ends` has what each party's work returned or raised; `Stopped` where it crashed."""

    ends: dict[PartyId, Any]
    steps: dict[PartyId, int]
    sent: list[Message]
    hung: list[str]
    digest: str


class SimulatedLink:
    """The link of a MemoryNetwork; what it does is up to the simulation."""

    def __init__(self, simulation: "Simulation", sender: PartyId, receiver: PartyId) -> None:
        self.sender, self.receiver = sender, receiver
        self.under_way: list[_Flight] = []
        self.arrived: deque[Item] = deque()
        self.is_cut = False
        self._simulation = simulation

    def put(self, item: Item, /) -> None:
        if item is None:  # the end of the session is no message: it is never lost
            self.under_way.append(_Flight(None, -1))
        else:
            self._simulation.send(self, *item)

    def get(self, *, timeout: float | None) -> Item:
        return self._simulation.receive(self, timeout)


class Simulation:
    def __init__(self, seed: str, faults: Sequence[Fault], patience: float) -> None:
        """`patience`: virtual seconds after which a party that still waits for one message hangs."""
        self.random = random.Random(seed)
        self._patience = patience
        self._crashes = {(f.party, f.number) for f in faults if f.kind == "crash"}
        self._faults: dict[tuple[PartyId, int], list[Fault]] = {}
        for fault in faults:
            if fault.kind != "crash":
                self._faults.setdefault((fault.party, fault.number), []).append(fault)
        self._links: dict[tuple[PartyId, PartyId], SimulatedLink] = {}
        self._parties: dict[PartyId, _Party] = {}
        self._back = _taken()
        self._over = False
        self._now = 0.0
        self._sent: list[Message] = []
        self._delivered: set[tuple[PartyId, int]] = set()
        self._trace = hashlib.sha256()

    def link(self, sender: PartyId, receiver: PartyId) -> SimulatedLink:
        self._links[sender, receiver] = link = SimulatedLink(self, sender, receiver)
        return link

    # --- in the thread of the party that has the baton -----------------------------------------------------------------

    def _pause(self, party: _Party) -> None:
        self._back.release()
        party.baton.acquire()
        if self._over:
            raise Stopped

    def _step(self, me: PartyId) -> _Party:
        party = self._parties[me]
        if (me, party.steps) in self._crashes:
            raise Stopped
        party.steps += 1
        self._pause(party)
        return party

    def send(self, link: SimulatedLink, tag: Tag, payload: Payload) -> None:
        party = self._step(link.sender)
        number, party.sent = party.sent, party.sent + 1
        self._sent.append(Message(link.sender, link.receiver, number, tag, bytes(payload)))
        self._note("sends", self._sent[-1])
        flight, copies = _Flight((tag, payload), number, self._now), []
        for fault in self._faults.get((link.sender, number), []):
            match fault.kind:
                case "drop":
                    return
                case "cut":
                    link.is_cut = True
                case "cut both":
                    back = self._links[link.receiver, link.sender]
                    link.is_cut = back.is_cut = True
                    for one in (link, back):
                        one.under_way = [f for f in one.under_way if f.item is None]
                case "delay":
                    flight.due = self._now + fault.seconds
                case "hold" | "reorder":
                    flight.after, flight.is_overtaken = fault.other, fault.kind == "reorder"
                case "duplicate":
                    copies.append(_Flight((tag, payload), number, self._now, fault.other))
                case "size":
                    flight.item = (tag, bytes(payload)[:-1])
                case "tag":
                    flight.item = (tag._replace(step=tag.step + 1), payload)
                case _:
                    raise ValueError(f"no fault is called {fault.kind!r}")
        if not link.is_cut:
            link.under_way += [flight, *copies]

    def receive(self, link: SimulatedLink, timeout: float | None) -> Item:
        party = self._step(link.receiver)
        if not link.arrived:
            party.waits = _Wait(link, self._now, None if timeout is None else self._now + timeout)
            self._pause(party)
            party.waits = None
        if not link.arrived:
            raise queue.Empty
        return link.arrived.popleft()

    def _body(self, party: _Party, work: Callable[[], Any]) -> None:
        party.baton.acquire()
        try:
            party.result = work()
        except BaseException as error:  # judged by the test
            party.result = error
        party.ended = True
        self._back.release()

    # --- in the thread that runs the simulation --------------------------------------------------------------------------

    def run(self, work: Mapping[PartyId, Callable[[], Any]], close: Callable[[], None]) -> Result:
        """Runs `work[me]` as party `me`, for all; `close` ends the session, once all but the dealer have ended."""
        self._parties = {me: _Party(me) for me in work}
        threads = [threading.Thread(target=self._body, args=(party, work[me]), daemon=True) for me, party in self._parties.items()]
        for thread in threads:
            thread.start()
        hung = self._schedule(close)
        ends = {me: party.result for me, party in self._parties.items()}
        steps = {me: party.steps for me, party in self._parties.items()}
        self._over = True
        for party in self._parties.values():
            party.baton.release()
        for thread in threads:
            thread.join(1)
        return Result(ends, steps, self._sent, hung, self._trace.hexdigest())

    def _schedule(self, close: Callable[[], None]) -> list[str]:
        """Goes on until all have ended; otherwise says who hangs."""
        is_closed = False
        for _ in range(STEPS):
            working = [party for party in self._parties.values() if not party.ended]
            if not working:
                return []
            if not is_closed and all(party.me == DEALER for party in working):
                is_closed = True
                close()
            able: list[_Party | tuple[SimulatedLink, _Flight]] = [party for party in working if self._can_go_on(party)]
            able += [(link, flight) for link in self._links.values() if link.under_way and (flight := self._next(link))]
            if not able:
                held = [f for link in self._links.values() for f in link.under_way if f.after is not None]
                for flight in held:
                    flight.after = None
                if held:
                    continue
                if hung := self._let_time_pass(working):
                    return hung
                continue
            chosen = self.random.choice(able)
            if isinstance(chosen, tuple):
                self._deliver(*chosen)
                continue
            self._note("goes on", chosen.me)
            chosen.baton.release()
            if not self._back.acquire(timeout=STUCK):
                return [f"party {chosen.me} waits for something outside of the channel"]
        return [f"party {party.me} goes on for ever" for party in working]

    def _can_go_on(self, party: _Party) -> bool:
        waits = party.waits
        return waits is None or bool(waits.link.arrived) or (waits.until is not None and waits.until <= self._now)

    def _next(self, link: SimulatedLink) -> _Flight | None:
        """What may arrive now: the first one under way, but for those that are overtaken."""
        for flight in link.under_way:
            if flight.after is None or (link.sender, flight.after) in self._delivered:
                return flight if flight.due <= self._now else None
            if not flight.is_overtaken:
                return None
        return None

    def _deliver(self, link: SimulatedLink, flight: _Flight) -> None:
        link.under_way.remove(flight)
        link.arrived.append(flight.item)
        self._delivered.add((link.sender, flight.number))
        self._note("arrives", link.sender, link.receiver, flight.number)

    def _let_time_pass(self, working: Sequence[_Party]) -> list[str]:
        """On to the next moment at which something happens; says who will have waited too long by then."""
        moments = [f.due for link in self._links.values() for f in link.under_way if f.due > self._now]
        moments += [p.waits.until for p in working if p.waits is not None and p.waits.until is not None]
        then = min(moments, default=float("inf"))
        hung = [
            f"party {p.me} still waits for party {p.waits.link.sender}, {self._patience:g} s and more"
            for p in working
            # the dealer waits for requests as long as the parties are at work, but not without end
            if p.waits is not None and then - p.waits.since > (self._patience if p.me != DEALER else LONGEST)
        ]
        self._now = then
        return hung

    def _note(self, *event: object) -> None:
        self._trace.update(repr((self._now, *event)).encode())
