"""Who and what a DICOM file says it is: UIDs that are made new alike in all files of a set, and headers without the patient.

De-identification is done by dicognito (``pip install 'privmed[deidentify]'``), not by a table of our own.
"""

from __future__ import annotations

import hashlib
import hmac
import io
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

from attrs import define, field

from privmed.errors import InputError, MissingDependencyError, PrivmedError, VerificationError
from privmed.imaging.dicom_whole import PIXELS, check_whole
from privmed.limits import read_bytes

REGISTERED = "1.2.840.10008."  # UIDs of the standard itself, which mean the same everywhere
KINDS = ("ClassUID", "TransferSyntaxUID", "ContextUID", "CodingSchemeUID", "MappingResourceUID")
"""Ends of the keywords of UIDs that say what kind of thing something is, and not which one (PS3.6)."""
CREATOR = "CreatorUID"  # of what says which device or firm made something: stays where names stay
SENDERS = (0x00020016, 0x00020017, 0x00020018, 0x00020026, 0x00020027, 0x00020028, 0x00020100, 0x00020102)
"""Tags of the file meta information that say who sent a file to whom, and what they add for themselves (PS3.10, 7.1)."""
TEXTS = ("TextValue", "UnformattedTextValue")  # of reports, and of notes on images
DOCUMENT = "EncapsulatedDocument"
ULTRASOUND = "Ultrasound"


@define(eq=False, slots=False)
class Identity:
    """New identities for the DICOM files of a set. Which one a file gets depends on the secret and on what it had, so references
    between files hold in whatever order, process or run they are changed.

    Args:
        secret: without it, new UIDs, names and dates cannot be traced back.
        deidentify: whether names, numbers, dates and addresses are replaced, too.

    Raises:
        MissingDependencyError: when that is wanted, and dicognito is not installed.
    """

    secret: bytes = field(repr=False)
    deidentify: bool = False

    def __attrs_post_init__(self) -> None:
        if self.deidentify:
            check_dicognito()

    def __reduce__(self) -> tuple[Any, ...]:
        return Identity, (self.secret, self.deidentify)

    @property
    def fingerprint(self) -> str:
        """What tells it from another one, and nothing more."""
        return hmac.new(self.secret, b"which", hashlib.sha256).hexdigest()[:16]

    def uid(self, old: str) -> str:
        """The new UID of a thing: a UUID of version 8 under 2.25 (PS3.5 B.2)."""
        made = hmac.new(self.secret, b"uid " + old.encode("utf-8", "replace"), hashlib.sha256).digest()[:16]
        number = int.from_bytes(made, "big") & ~(0xF << 76) & ~(0x3 << 62) | (0x8 << 76) | (0x2 << 62)
        return f"2.25.{UUID(int=number).int}"

    def apply(self, dataset: Any, source: object) -> None:
        """Change a dataset in place: all its UIDs and references, and, if so wanted, what it says of patient and hospital.

        Raises:
            InputError: when a value in its header is damaged, so that it could not be changed; when a document is in it that says of
                the patient what it likes.
        """
        try:
            if self.deidentify:
                if any(element.keyword == DOCUMENT for element in dataset.iterall()):
                    raise InputError(f"{source}: holds a whole document (as PDF), which cannot be de-identified.")
                self._anonymizer.anonymize(dataset)
                for tag in SENDERS:
                    dataset.file_meta.pop(tag, None)
                dataset.preamble = bytes(128)  # of free use
            else:
                dataset.file_meta.walk(self._element)
                dataset.walk(self._element)
        except PrivmedError:
            raise
        except Exception as error:  # values can be broken in any way
            what = "de-identified" if self.deidentify else "given new UIDs"
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{source}: its header cannot be {what} ({reason}). Repair the file first.") from error

    @cached_property
    def _anonymizer(self) -> Any:
        from dicognito.anonymizer import Anonymizer

        made = Anonymizer(seed=hmac.new(self.secret, b"dicognito", hashlib.sha256).hexdigest())
        made.add_element_handler(self._element)  # before its own, so that UIDs are those of sets that keep names
        return made

    def _element(self, _: Any, element: Any) -> bool:
        """Change an element if it is a UID; whether it was one, also one that stays."""
        if element.VR != "UI":
            return False
        if element.value and not element.keyword.endswith(KINDS if self.deidentify else (*KINDS, CREATOR)):
            several = not isinstance(element.value, str)
            old = element.value if several else [element.value]
            new = [v if v.startswith(REGISTERED) else self.uid(v) for v in old]
            element.value = new if several else new[0]
        return True


def check_dicognito() -> None:
    """Say before any work that nothing can be de-identified.

    Raises:
        MissingDependencyError: when dicognito is not installed.
    """
    try:
        import dicognito.anonymizer  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("--deidentify needs dicognito: pip install 'privmed[deidentify]'.") from error


def burnt_in(dataset: Any) -> str:
    """Why names may be burnt into the pixels; empty where nothing says so (PS3.3 C.7.6.1.1.2)."""
    said = str(dataset.get("BurnedInAnnotation", "") or "").strip().upper()
    if said == "YES":
        return "BurnedInAnnotation is YES"
    kind = getattr(dataset.get("SOPClassUID", ""), "name", "")
    ultrasound = ULTRASOUND in kind or str(dataset.get("Modality", "")) in ("US", "IVUS")
    return "ultrasound without BurnedInAnnotation" if ultrasound and not said else ""


def free_text(dataset: Any) -> str:
    """Why names may be in what somebody wrote, which nothing replaces; empty where there is no such text."""
    written = any(element.keyword in TEXTS and element.value for element in dataset.iterall())
    return "free text, which is not de-identified" if written else ""


def _pixels_of(dataset: Any) -> list[bytes]:
    return [bytes(dataset[name].value or b"") for name in PIXELS if name in dataset]


def copy_dicom(path: Path, target: Path, identity: Identity) -> str:
    """Write a DICOM file with another identity; its pixels stay as they are, byte for byte, compressed ones too.

    Returns:
        What :func:`burnt_in` says of it, and when it was de-identified :func:`free_text`.

    Raises:
        InputError: when it is damaged.
        MissingDependencyError: when pydicom is not installed.
        VerificationError: when the written file holds other pixels.
    """
    try:
        import pydicom
    except ImportError as error:
        raise MissingDependencyError(f"{path}: reading DICOM needs pydicom: pip install 'privmed[dicom]'.") from error
    try:
        data = bytes_of(path)
        dataset = pydicom.dcmread(io.BytesIO(data), force=False)
    except PrivmedError:
        raise
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise InputError(f"{path}: the DICOM file is cut off or damaged ({error}).") from error
    check_whole(path, data, dataset)
    before = _pixels_of(dataset)
    seen = burnt_in(dataset) if before else ""
    if identity.deidentify:
        seen = seen or free_text(dataset)
    identity.apply(dataset, path)
    try:
        dataset.save_as(target, enforce_file_format=True)
    except OSError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: its header cannot be written back ({reason}). Repair the file first.") from error
    written = pydicom.dcmread(target)
    if before != _pixels_of(written):
        raise VerificationError(f"{path}: what was written holds other pixels, so it was left out.")
    return seen


def bytes_of(path: Path) -> bytes:
    """All of a file that is to be copied.

    Raises:
        InputError: when it cannot be read.
    """
    try:
        return read_bytes(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
