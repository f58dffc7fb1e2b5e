"""Messages between the processes of one job.

They are pickles. That is safe here and nowhere else: both ends are processes of this run, the pipe between them has no name, and nothing
that lies in a file is ever read this way.
"""

from __future__ import annotations

import pickle
import struct
from typing import IO, Any

HEAD = struct.Struct("<Q")


def send(pipe: IO[bytes], message: Any) -> None:
    """Write a message.

    Raises:
        OSError: when nobody reads any more.
    """
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    pipe.write(HEAD.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """Read a message.

    Raises:
        EOFError: when the other end is gone, also in the middle of a message.
    """
    head = pipe.read(HEAD.size)
    if len(head) < HEAD.size:
        raise EOFError
    (length,) = HEAD.unpack(head)
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)
