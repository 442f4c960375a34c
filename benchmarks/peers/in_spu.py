"""One party in SPU, over mutual TLS: the protocol that is asked for, over Z_2^64."""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from spu import Io, Runtime, libspu
from spu.utils import frontend

from benchmarks.peers.party import Job, job, numbers, report


def link(job: Job) -> Any:
    described = libspu.link.Desc()
    for party, port in enumerate(job.ports):
        described.add_party(f"party{party}", f"127.0.0.1:{port}")
    described.enable_ssl = True
    for options in (described.client_ssl_opts, described.server_ssl_opts):
        options.cert.certificate_path = f"{job.folder}/.config/party_{job.me}.crt"
        options.cert.private_key_path = f"{job.folder}/.config/party_{job.me}.key"
        options.verify.verify_depth = 2
        options.verify.ca_file_path = f"{job.folder}/.config/mpyc_ca.crt"
    return libspu.link.create_brpc(described, job.me)


def send(connection: Any, to: int, share: Any) -> None:
    for part in (share.meta, str(len(share.share_chunks)), *share.share_chunks):
        connection.send(to, part)


def receive(connection: Any, sender: int) -> Any:
    share = libspu.Share()
    share.meta = connection.recv(sender)
    share.share_chunks = [connection.recv(sender) for _ in range(int(connection.recv(sender)))]
    return share


def main(job: Job) -> None:
    jax.config.update("jax_enable_x64", True)
    connection = link(job)
    config = libspu.RuntimeConfig(getattr(libspu.ProtocolKind, job.how), libspu.FieldType.FM64)
    io, runtime = Io(job.parties, config), Runtime(connection, config)
    values = np.array(numbers(job))

    def compiled(work: Any, count: int) -> Any:
        names, secret = [f"in{party}" for party in range(count)], [libspu.Visibility.VIS_SECRET] * count
        return frontend.compile(
            frontend.Kind.JAX, work, [values] * count, {}, names, secret, lambda out: ["out"]
        )[0]  # fmt: skip

    def share(owners: int) -> None:
        """Each owner shares its values with all."""
        for owner in range(owners):
            if owner == job.me:
                shares = io.make_shares(values, libspu.Visibility.VIS_SECRET)
                for party in range(job.parties):
                    if party != owner:
                        send(connection, party, shares[party])
                mine = shares[owner]
            else:
                mine = receive(connection, owner)
            runtime.set_var(f"in{owner}", mine)

    def opened() -> Any:
        """To party 0."""
        mine = runtime.get_var("out")
        if job.me:
            return send(connection, 0, mine)
        return io.reconstruct([mine, *(receive(connection, party) for party in range(1, job.parties))])

    if job.work in ("multiply", "compare"):
        of_two: Any = (lambda x, y: x * y) if job.work == "multiply" else (lambda x, y: x < y[::-1])
        program = compiled(of_two, 2)
        share(2)
        runtime.run(program)
        result, expected = opened(), of_two(values, values)

        def work() -> Any:
            runtime.run(program)
    else:
        middle = (job.parties * len(values) - 1) // 2
        of_all: Any = (lambda *all: jnp.sort(jnp.concatenate(all))[middle]) if job.work == "median" else (lambda *all: sum(all[1:], all[0]))
        program = compiled(of_all, job.parties)

        def work() -> Any:
            share(job.parties)
            runtime.run(program)
            return opened()

        result, expected = work(), np.sort(np.tile(values, job.parties))[middle] if job.work == "median" else values * job.parties
    if job.me == 0 and not np.array_equal(result, expected):
        sys.exit("a wrong result")
    report(job, connection.barrier, work)


if __name__ == "__main__":
    main(job())
