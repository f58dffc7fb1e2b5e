"""The server's part of covert analysis over HTTP: it gets photographs, and answers with photographs.

What lies in here, from the outside in: :mod:`run` (sockets, signals), :mod:`protocol` (clients that are slow), :mod:`app` (who may ask
for what), :mod:`photos` (what may be decoded), :mod:`batching` (one analyzer for all clients), and what is counted, :mod:`metrics`. It
needs the extra ``privmed[server]``; nothing is ever written to a disk, and what is logged are sizes and times.
"""
