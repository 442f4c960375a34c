"""Library sessions over gRPC, all parties in threads of this process, each with a port and a certificate of its own."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cluster import Cluster

import parties
from mpc.context import Context
from mpc.errors import ComityError
from parties.node.serve import ServingNode
from parties.wire.stream import SessionFailed
from protocols.gadgets import multiply, reveal, share

NAMES = ("alpha", "beta", "gamma")


def product_of_sums(ctx: Context, x: np.ndarray) -> np.ndarray | None:
    first, second, third = share(ctx, x)
    return reveal(ctx, multiply(ctx, first + second, third), to=[0, 2])


def everybody(cluster: Cluster, work, **options):
    with ThreadPoolExecutor(len(cluster.parties)) as pool:
        futures = [pool.submit(work, name, **options) for name in cluster.parties]
        return [future.exception() or future.result() for future in futures]


@pytest.mark.parametrize(("scheme", "triples"), [("additive", "dealer"), ("shamir", None), ("replicated", None)])
def test_the_same_function_in_memory_and_over_grpc(tmp_path: Path, scheme: str, triples: str | None) -> None:
    cluster = Cluster(tmp_path, NAMES, scheme=scheme, triples=triples)
    cluster.approve()
    inputs = {name: np.array([i + 1, -5, 1 << 20]) for i, name in enumerate(cluster.parties)}

    def take_part(name: str):
        with parties.join(cluster[name], session="products") as ctx:
            return product_of_sums(ctx, inputs[name])

    dealer = ServingNode(cluster["dealer"]) if triples else None
    try:
        results = everybody(cluster, take_part)
    finally:
        if dealer:
            dealer.close()
    a, b, c = inputs.values()
    assert results[1] is None
    assert results[0].tolist() == results[2].tolist() == ((a + b) * c).tolist()


def test_two_sessions_of_the_same_name_have_different_keys(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, NAMES)
    cluster.approve()

    def take_part(name: str):
        with parties.join(cluster[name], session="again") as ctx:
            held = share(ctx, np.zeros(4, dtype=np.int64))
            reveal(ctx, *held)
            return held[0].data.tolist()

    first, second = everybody(cluster, take_part), everybody(cluster, take_part)
    assert all(isinstance(data, list) for data in [*first, *second]), (first, second)
    assert all(x != y for x, y in zip(first, second, strict=True))


def test_an_error_in_one_partys_protocol_reaches_the_others_by_name(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, NAMES)
    cluster.approve()

    def take_part(name: str):
        with parties.join(cluster[name], session="broken") as ctx:
            if name == "beta":
                raise ValueError("the secret is 4711")
            return reveal(ctx, *share(ctx, np.array([1])))

    results = everybody(cluster, take_part)
    assert isinstance(results[1], ValueError)
    for result in (results[0], results[2]):
        assert isinstance(result, ComityError)
        assert "beta" in str(result)
        assert "4711" not in str(result)


def test_parties_out_of_step_are_told_where(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, NAMES, scheme="shamir", deadline=3)
    cluster.approve()

    def take_part(name: str):
        with parties.join(cluster[name], session="steps") as ctx:
            x, y, _ = share(ctx, np.array([3]))
            if name == "gamma":
                return reveal(ctx, x)
            return reveal(ctx, multiply(ctx, x, y))

    results = everybody(cluster, take_part)
    assert all(isinstance(result, SessionFailed) for result in results)
    text = " ".join(map(str, results))
    assert "step 1 (reveal)" in text
    assert "step 1 (multiply)" in text
    assert "gamma" in text


def test_a_long_message_goes_in_chunks_both_ways_at_once(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, NAMES, scheme="shamir")
    cluster.approve()
    values = np.arange(400_000)  # 3.2 MB a message

    def take_part(name: str):
        with parties.join(cluster[name], session="long") as ctx:
            first, second, _ = share(ctx, values)
            return int(np.abs(reveal(ctx, multiply(ctx, first, second)) - values * values).max())

    assert everybody(cluster, take_part) == [0, 0, 0]


def test_a_party_that_does_not_come_is_named(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, ("alpha", "beta"))
    cluster.approve()
    for name, missing in (("alpha", "beta"), ("beta", "alpha")):
        with pytest.raises(ComityError, match=missing) as raised, parties.join(cluster[name], session="x", wait=0.3):
            pass
        assert "start it there" in str(raised.value)


def test_a_running_node_never_serves_a_library_session(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, ("alpha", "beta"))
    cluster.approve()
    node = ServingNode(cluster["alpha"])
    try:
        with pytest.raises(ComityError, match="serves queries alone"), parties.join(cluster["beta"], session="x"):
            pass
    finally:
        node.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("link")]
