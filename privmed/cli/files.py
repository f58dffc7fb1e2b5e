"""What ``privmed hide`` and ``privmed recover`` do with a hider that carries files under a key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from attrs import frozen

from privmed.cli.common import Reporter, decibels, make
from privmed.cli.locks import passphrase

IMAGES, FILES = "lightih", "lsbm"  # the hiders that nobody has to name
ONLY_IMAGES = {
    "weights",
    "frame",
    "allow_lossy",
    "use",
    "strict",
    "refine",
    "seed",
    "as_",
    "analyzer",
    "analyzer_weights",
}
ONLY_FILES = {"key", "passphrase_file"}
NOUNS = {"key": "key", "passphrase_file": "passphrase"}
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key",
        help="The key shared with the receiver (privmed keygen --shared); the hider is lsbm then, or one of images under a key.",
    ),
]


def carries_files(context: typer.Context, hider: str | None) -> bool:
    """Whether the hider of a command carries files: by its name or, without one, because a key is given.

    Raises:
        SettingsError: when an option is given that the hider does not have.
    """
    from privmed import registry
    from privmed.errors import SettingsError
    from privmed.interfaces import FileHider

    named = [name for name, source in _sources(context).items() if source == "COMMANDLINE"]
    locked = sorted(ONLY_FILES.intersection(named))
    if hider is None and not locked:
        return False
    cls = registry.load("hider", hider or FILES)
    files = issubclass(cls, FileHider)
    refused = ONLY_IMAGES if files else ONLY_FILES - {"key"} if hasattr(cls, "use_key") else ONLY_FILES
    for name in sorted(refused.intersection(named)):
        option = f"--{name.strip('_').replace('_', '-')}"
        if files:
            raise SettingsError(f"{option}: {hider or FILES} carries files as they are, under a key. Leave it out.")
        raise SettingsError(
            f"{option}: {hider} hides images and has no {NOUNS[name]}. Leave it out, or use --hider {FILES}."
        )
    return files


def give_key(method: Any, key: Path | None) -> None:
    """Give a hider of images under a key the one of the command line; others stay as they are.

    Raises:
        KeyFileError: when it needs one and there is none, or the file holds none.
    """
    from privmed.errors import KeyFileError
    from privmed.shared_key import SharedKey

    if not hasattr(method, "use_key"):
        return
    if key is None:
        raise KeyFileError(f"{method.name} hides under a key. Give one with --key; privmed keygen --shared makes it.")
    method.use_key(SharedKey.read(key))


@frozen(kw_only=True)
class FileCommand:
    """A command on hidden files, with its options."""

    output: Path
    hider: str | None
    key: Path | None
    passphrase_file: Path | None
    device: str
    set_: list[str] | None
    force: bool
    reporter: Reporter

    def hide(self, secret: Path, cover: Path) -> None:
        """Hide a file in a photograph, and prove on the written PNG that it comes back."""
        from privmed.errors import VerificationError
        from privmed.imaging import quantise, read
        from privmed.imaging.wire import from_bytes, write_pixels

        data, picture = _read(secret), read(cover, frame=0)  # of a cover, any picture will do
        method, key = self._method(), self._lock(twice=True)
        photograph = quantise(picture.tensor())
        with naming("cover", cover):
            stego = method.hide_file(data, photograph, key)

        def check(held) -> None:
            if method.recover_file(from_bytes(held), key) != data:
                raise VerificationError(
                    f"{self.output}: the file that comes back is not {secret}. Nothing was written."
                )

        held = from_bytes(write_pixels(self.output, stego, overwrite=self.force, check=check))
        figures = figures_of(method, data, photograph, held)
        warnings = [JPEG.format(cover=cover)] if picture.format == "jpeg" else []
        self.reporter.table(f"{secret.name} is in {self.output}", in_rows(figures))
        for text in warnings:
            self.reporter.warn(text)
        self._finish(method, size=list(held.shape[-2:]), **figures, warnings=warnings)

    def recover(self, image: Path) -> None:
        """Write the file that is hidden in a stego."""
        from privmed.errors import VerificationError
        from privmed.files import whole_file
        from privmed.imaging.wire import from_bytes, read_pixels

        stego, method = from_bytes(read_pixels(image)), self._method()
        with naming("stego", image):
            data = method.recover_file(stego, self._lock(twice=False))
        with whole_file(self.output, overwrite=self.force) as temporary:
            temporary.write_bytes(data)
            if temporary.read_bytes() != data:
                raise VerificationError(f"{self.output}: the file does not hold what was written. Is the disk damaged?")
        self.reporter.say(f"{self.output}: the hidden file, {len(data):,} bytes; neither it nor the image was altered.")
        self._finish(method, bytes=len(data), warnings=[])

    def _method(self) -> Any:
        return make("hider", self.hider or FILES, None, self.device, self.set_)

    def _lock(self, *, twice: bool) -> Any:
        """What the file is locked with: a key file, or a passphrase from where commands take passphrases."""
        from privmed.errors import SettingsError
        from privmed.locks import Passphrase
        from privmed.shared_key import SharedKey

        if self.key is None:
            return Passphrase(passphrase(self.passphrase_file, twice=twice, ways="--passphrase-file or --key"))
        if self.passphrase_file is not None:
            raise SettingsError("--key and --passphrase-file: give one of them.")
        return SharedKey.read(self.key)

    def _finish(self, method: Any, **result: Any) -> None:
        self.reporter.finish({"output": str(self.output), "hider": method.name, **result})


def figures_of(method: Any, data: bytes, cover: Any, stego: Any) -> dict[str, float]:
    """What hiding a file did to a photograph."""
    from privmed.metrics import psnr, ssim

    cover = cover[:, : stego.shape[1]]  # one of equal channels became grey
    taken, room, pixels = method.size_of(data), method.capacity(cover), cover[0, 0].numel()
    return {
        "bytes": len(data),
        "compressed": taken,
        "capacity": room,
        "capacity_used": taken / room,
        "bits_per_pixel": 8 * taken / pixels,
        "changed_pixels": int((stego != cover).any(1).sum()),
        "changed_share": float((stego != cover).any(1).double().mean()),
        "stego_psnr": float(psnr(stego, cover)),
        "stego_ssim": float(ssim(stego, cover)),
    }


def in_rows(figures: dict[str, float]) -> list[tuple[str, str]]:
    """The same as people read it."""
    return [
        (
            "file",
            f"{figures['bytes']:,.0f} bytes, {figures['compressed']:,.0f} compressed; back from the PNG bit for bit",
        ),
        ("room", f"{figures['capacity']:,.0f} bytes, {figures['capacity_used']:.1%} of them used"),
        ("load", f"{figures['bits_per_pixel']:.3f} bits a pixel"),
        ("changed", f"{figures['changed_share']:.1%} of the pixels, their values by 1 of 255 levels"),
        ("stego against cover", f"{decibels(figures['stego_psnr'])}, SSIM {figures['stego_ssim']:.4f}"),
    ]


@contextmanager
def naming(name: str, path: Path) -> Iterator[None]:
    """Call an image by its file where the library calls it by its argument."""
    from privmed.errors import PrivmedError

    try:
        yield
    except PrivmedError as error:
        if not str(error).startswith(f"{name}: "):
            raise
        raise type(error)(f"{path}{str(error).removeprefix(name)}") from error


JPEG = (
    "{cover} is a JPEG, and what JPEG leaves in a photograph betrays changed bits to whoever looks for them. A photograph that was "
    "scaled down since, or never was a JPEG, is better."
)


def _read(path: Path) -> bytes:
    from privmed.errors import InputError
    from privmed.limits import read_bytes

    try:
        return read_bytes(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error


def _sources(context: typer.Context) -> dict[str, str]:
    """Where the value of each parameter comes from."""
    found = {name: context.get_parameter_source(name) for name in context.params}
    return {name: source.name for name, source in found.items() if source is not None}
