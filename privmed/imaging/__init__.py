"""Pictures and tensors: files of many kinds, the 8-bit wire, wavelets."""

from privmed.imaging.picture import Picture
from privmed.imaging.quantise import quantise
from privmed.imaging.read import read, read_secret
from privmed.imaging.wavelets import Subbands, haar, inverse_haar
from privmed.imaging.wire import read_wire, write_view, write_wire

__all__ = [
    "Picture",
    "Subbands",
    "haar",
    "inverse_haar",
    "quantise",
    "read",
    "read_secret",
    "read_wire",
    "write_view",
    "write_wire",
]
