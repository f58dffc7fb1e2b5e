"""A release of tiny files, made slowly by a task that workers can import: for tests that kill it."""

import sys
import time

from attrs import frozen

from privmed.data.folders import ImageFolder
from privmed.data.release import Release
from privmed.errors import InputError
from privmed.jobs import Job
from privmed.jobs.local import Local
from privmed.jobs.pool import Processes


@frozen
class Copy:
    """Writes what a file holds, twice, with a pause in the middle of it."""

    def open(self, place):
        return work


def work(payload):
    item, draft = payload
    data = item.image.read_bytes()
    if data == b"corrupt":
        raise InputError(f"{item.image}: is corrupt.")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        time.sleep(0.002)
        file.write(data)
    return {"bytes": 2 * len(data)}


def executor(engine):
    if engine == "ray":
        from privmed.jobs.actors import RayActors

        return RayActors(2)
    return Processes(2) if engine == "processes" else Local()


def main(folder, out, engine, *, resume):
    job = Job("copy", executor(engine))
    source = ImageFolder(folder)
    with Release(source, out, {"method": "copy"}, resume=resume, job=job) as release:
        items = source.items()
        outcome = release.run(items, Copy())
        release.finish(items, outcome.failed)
    sys.exit(1 if outcome.failed else 0)
