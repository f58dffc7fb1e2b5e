"""The server's part of covert analysis over HTTP: it gets photographs, and answers with photographs.

What lies in here, from the outside in: :mod:`~privmed.server.run` (sockets, signals), :mod:`~privmed.server.protocol` (clients that are
slow), :mod:`~privmed.server.app` (who may ask for what), :mod:`~privmed.server.photos` (what may be decoded),
:mod:`~privmed.server.batching` (one analyzer for all clients), and what is counted, :mod:`~privmed.server.metrics`. It needs the extra
``privmed[server]``; nothing is ever written to a disk, and what is logged are sizes and times.
"""
