"""What ``privmed protect`` and ``watermark`` share for trees of DICOM studies: other identities, and files that are not changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privmed.cli.common import NAMED

if TYPE_CHECKING:
    from privmed.cli.common import Reporter
    from privmed.data.release import Release
    from privmed.data.studies import Carried, StudyFolder
    from privmed.imaging.dicom_identity import Identity
    from privmed.jobs import Job

CopyRest = Annotated[
    bool, typer.Option("--copy-rest", help="Copy, too, what cannot be changed: it is published unprotected.")
]
Deidentify = Annotated[
    bool, typer.Option("--deidentify", help="Have dicognito replace names, numbers and dates in DICOM headers.")
]
Secret = Annotated[
    Path | None,
    typer.Option(
        "--secret", help="A shared key (privmed keygen --shared) that new UIDs, names and dates are made from."
    ),
]
MASK = "is a mask"  # what stands for it in manifests
KEPT = "identity"  # the secret of a run that is to be gone on with, in its work folder


class Studies:
    """The identities of one run, and what becomes of files that are no images.

    Args:
        source: the data set.
        job: the run.
        copy: whether what cannot be changed is copied.
        deidentify: whether headers lose the patient.
        secret: a shared key that identities are made from; by default they are drawn, or come from the seed.

    Raises:
        SettingsError: for options that do not fit together, or the data set.
        MissingDependencyError: when dicognito is wanted and not installed.
        KeyFileError: when the secret cannot be read.
    """

    def __init__(self, source: StudyFolder, job: Job, copy: bool, deidentify: bool, secret: Path | None) -> None:
        from privmed.errors import SettingsError
        from privmed.imaging.dicom_identity import check_dicognito
        from privmed.shared_key import SharedKey

        self.source, self.job, self.copy, self.deidentify = source, job, copy, deidentify
        self.given = None if secret is None else SharedKey.read(secret).secret
        self.identity: Identity | None = None
        self._kept: Path | None = None
        self._drawn = b""
        if deidentify:
            check_dicognito()
            if not source.has_dicom:
                raise SettingsError(f"--deidentify: there is no DICOM image in {source.path}. Leave it out.")

    def of_secret(self, secret: bytes) -> Identity:
        """The identities of a run: those of ``--secret``, or else of a secret that it has anyway."""
        from privmed.imaging.dicom_identity import Identity

        self.identity = Identity(labelled(self.given or secret), self.deidentify)
        return self.identity

    def drawn(self, output: Path, resume: bool, seed: int) -> Identity:
        """The identities of a run that has no secret: those of its seed, or of a drawn secret if names are to be hidden.

        Raises:
            SettingsError: when that secret is gone, or shards would draw one each.
        """
        import secrets

        from privmed.data.release import MANIFEST
        from privmed.data.workplace import work_of
        from privmed.errors import SettingsError

        if self.given is not None or not self.deidentify:
            return self.of_secret(f"seed {seed}".encode())
        if self.job.shard:
            raise SettingsError(
                "--shard: all parts need the same new names. Make a key (privmed keygen --shared -o KEY), and give --secret KEY."
            )
        self._kept = work_of(output) / KEPT
        if output.resolve() in self._kept.parents:
            raise SettingsError(
                f"{output}: what new names are made from would be kept in it, as nothing can be written beside it. Give --secret KEY."
            )
        self._drawn = self._kept.read_bytes() if resume and self._kept.is_file() else secrets.token_bytes(32)
        if resume and not self._kept.is_file() and (output / MANIFEST).is_file():
            raise SettingsError(
                f"{output}: the secret that its new names were made from is gone, as it was done. Choose another folder."
            )
        return self.of_secret(self._drawn)

    @property
    def about(self) -> dict[str, Any]:
        """What the manifest says of it."""
        given = {"deidentified": self.deidentify, "copy_rest": self.copy}
        told: dict[str, Any] = {name: True for name, on in given.items() if on}
        if self.identity is not None and (self.given is not None or self._kept is not None):
            told["identity"] = self.identity.fingerprint
        return told

    def ids(self) -> list[str]:
        """The names of files that are copied, as a part of the whole that shards are cut from."""
        from privmed.data.studies import can_be_copied

        if not self.copy:
            return []
        files = [o.image for o in self.source.rest() if can_be_copied(o, self.deidentify)]
        return [path.relative_to(self.source.path).as_posix() for path in files]

    def keep(self, release: Release) -> None:
        """Let a later run go on with the same identities."""
        if self._kept is not None and not self._kept.is_file():
            from privmed.files import whole_file

            with whole_file(release.work.folder() / KEPT) as temporary:
                temporary.touch(0o600)
                temporary.write_bytes(self._drawn)

    def carry(self, release: Release, items: list, failed: list[tuple[str, str]], reporter: Reporter) -> Carried:
        """Copy what is to be copied."""
        from privmed.cli.common import bar
        from privmed.data.studies import carry

        assert self.identity is not None
        rest = self.source.rest()
        rest = self.job.shard.of(rest) if self.job.shard else rest
        with bar(reporter, "copying") as tick:
            return carry(release, items, failed, rest, self.identity, copy=self.copy, tick=tick)

    def forget(self, release: Release, failed: list[tuple[str, str]], reporter: Reporter) -> None:
        """The last step: when nothing is left to be done, new names cannot be traced any more."""
        if self._kept is None:
            return
        if failed and release.lines:
            reporter.say(
                f"What new names were made from is kept in {self._kept} for --resume. Delete it if nothing is to be mended."
            )
        else:
            self._kept.unlink(missing_ok=True)


def check_kept_apart(source: StudyFolder, copy: bool, *secrets: Path | None) -> None:
    """Refuse secrets that would be published with the set.

    Raises:
        SettingsError: naming the first.
    """
    from privmed.errors import SettingsError

    for path in secrets if copy else ():
        if path is not None and any(folder.resolve() in path.resolve().parents for folder in source.folders):
            raise SettingsError(
                f"{path}: lies in {source.path}, of which --copy-rest publishes every file. Keep it somewhere else."
            )


def changed(release: Release) -> list[dict[str, Any]]:
    """The manifest's lines of what was not just copied."""
    return [line for line in release.lines.values() if "copied" not in line]


def tell(reporter: Reporter, release: Release, left: list[tuple[str, str]]) -> dict[str, Any]:
    """Say what was left out or copied as it was, and where names may be burnt in; returns it for programs."""
    for name, why in left[:NAMED]:
        reporter.say(f"not copied {name}: {why}")
    if len(left) > NAMED:
        reporter.say(f"and {len(left) - NAMED} more, which --json names.")
    lines = sorted(release.lines.values(), key=lambda line: line["file"])
    copied = [line for line in lines if line.get("copied", MASK) != MASK]
    if copied:
        first = f"{copied[0]['file']} ({copied[0]['copied']})"
        reporter.warn(
            f"copied into {release.out} with their pixels as they were, unprotected: {len(copied)}, the first of them {first}."
        )
    burnt = [line for line in lines if line.get("burnt_in")]
    if burnt:
        first = f"{burnt[0]['file']} ({burnt[0]['burnt_in']})"
        reporter.warn(
            f"look at these before you publish, their pixels or texts may hold names: {len(burnt)}, the first of them {first}."
        )
    return {
        "left": [{"file": name, "reason": why} for name, why in left],
        "copied": [{"file": line["file"], "reason": line["copied"]} for line in copied],
        "burnt_in": [{"file": line["file"], "reason": line["burnt_in"]} for line in burnt],
    }


def labelled(secret: bytes) -> bytes:
    """A secret of its own, of one that other things are made from, too."""
    import hashlib
    import hmac

    return hmac.new(secret, b"privmed identity", hashlib.sha256).digest()
