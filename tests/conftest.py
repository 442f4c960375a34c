"""Settings of all tests, and the search of all that they make nodes and commands say."""

import logging
import subprocess
from collections.abc import Iterator, Sequence

import planted
import pytest
from cluster import COMITY, said
from hypothesis import settings

# no deadline for an example: two busy cores are slow now and then
settings.register_profile("comity", deadline=None, max_examples=60)
settings.load_profile("comity")


@pytest.fixture(scope="session", autouse=True)
def no_log_shows_a_secret(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Searches, at the end, all logs of this process's tests: of the nodes they started (files in their folders), of
    nodes within this process, and what commands said, but for the answers."""
    folder = tmp_path_factory.getbasetemp()
    handler = logging.FileHandler(folder / planted.OWN_LOG)
    log = logging.getLogger("comity")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    communicate = subprocess.Popen.communicate

    def write(command: Sequence[str], out: str | bytes | None, err: str | bytes | None) -> None:
        with (folder / planted.SAID).open("ab") as file:
            for text in (err,) if command[:1] in (["run"], ["demo"]) else (out, err):
                file.write(text if isinstance(text, bytes) else (text or "").encode())

    def listen(process: subprocess.Popen, *arguments: object, **options: object) -> tuple:
        out, err = communicate(process, *arguments, **options)
        command = list(map(str, process.args)) if isinstance(process.args, list | tuple) else []
        if command[: len(COMITY)] == list(COMITY):
            write(command[len(COMITY) :], out, err)
        return out, err

    said.append(write)
    subprocess.Popen.communicate = listen
    yield
    subprocess.Popen.communicate = communicate
    said.remove(write)
    log.removeHandler(handler)
    handler.close()
    found = planted.found_in(folder)
    if found:
        pytest.fail("secrets in logs:\n" + "\n".join(found), pytrace=False)
