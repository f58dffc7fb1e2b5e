"""PNG, JPEG and TIFF: read without losing anything silently, written back in their own depth.

Pillow opens a 16-bit RGB PNG as 8 bits and clips 16-bit grey without a word, so deep PNG goes through imagecodecs and TIFF through
tifffile; Pillow reads the rest and the headers.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from privmed.errors import InputError, LossError, PrivmedError
from privmed.imaging.chain import Chain, Palette, unit_chain
from privmed.imaging.picture import Picture
from privmed.imaging.tiff_checks import check_chain, check_page
from privmed.limits import check_area

PNG_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}


@contextmanager
def opened(path: Path, source: Any, formats: tuple[str, ...]) -> Iterator[Any]:
    """Open a picture of one of these formats with Pillow, by our limit of pixels and not by Pillow's own.

    Raises:
        InputError: when its header says that it has more pixels.
        OSError, SyntaxError, ValueError: from Pillow, for damaged files.
    """
    from PIL import Image

    theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(source, formats=formats) as file:
            check_area(path, file.height, file.width)
            yield file
    finally:
        Image.MAX_IMAGE_PIXELS = theirs


def check_still(path: Path, frames: int, frame: int | None, hint: str) -> None:
    """Refuse to read one picture of several that a PNG or JPEG holds, unless the first is asked for."""
    if frame not in (None, 0):
        which = "it holds one picture" if frames == 1 else "only its first picture can be read"
        raise InputError(f"{path}: has no frame {frame}; {which}.")
    if frames > 1 and frame is None:
        raise LossError(f"{path}: {hint} of {frames} pictures. Choose the first with --frame 0, or split the file.")


def read_png(path: Path, data: bytes, frame: int | None = None) -> Picture:
    """Read a PNG of 1 to 16 bits; grey, RGB or palette, with an opaque alpha channel at most."""
    import imagecodecs

    if len(data) < 33 or data[12:16] != b"IHDR":
        raise InputError(f"{path}: the PNG is cut off or damaged (no header).")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    check_area(path, height, width)
    if colour not in PNG_COLOURS:
        raise InputError(f"{path}: the PNG is damaged (colour type {colour}).")
    if b"IEND" not in data:
        raise InputError(f"{path}: the PNG is cut off (its end is missing).")
    check_still(path, _animation(data), frame, "is an animation")
    if _turned(data):
        raise InputError(f"{path}: is stored turned or mirrored (eXIf, Orientation). Turn its pixels upright first.")
    try:
        if colour == 3 or depth < 8:
            return _small_png(path, data)
        pixels = imagecodecs.png_decode(data)
    except (RuntimeError, ValueError, OSError, SyntaxError) as error:
        raise InputError(f"{path}: the PNG is damaged ({error}).") from error
    pixels, extra = split_alpha(path, np.asarray(pixels))
    return Picture(pixels, unit_chain(pixels.dtype), "png", depth, write_png, path, extra)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of the chunks of a PNG, as far as it goes."""
    at = 8
    while at + 12 <= len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        yield name, data[at + 8 : at + 8 + length]
        at += 12 + length


def _animation(data: bytes) -> int:
    """How many frames an animated PNG says it has; 1 for an ordinary one."""
    for name, content in _chunks(data):
        if name == b"acTL":
            return int.from_bytes(content[:4], "big")
        if name == b"IDAT":  # the standard puts acTL before it
            break
    return 1


def _turned(data: bytes) -> bool:
    """Whether a PNG asks to be shown turned or mirrored; one whose EXIF data cannot be read does not."""
    from PIL import ExifTags, Image

    for name, content in _chunks(data):
        if name == b"eXIf":
            found = Image.Exif()
            with suppress(Exception):  # of a stranger, and in any state
                found.load(content)
                return found.get(ExifTags.Base.Orientation, 1) not in (0, 1)
    return False


def _small_png(path: Path, data: bytes) -> Picture:
    """Palette and 1- to 4-bit pictures, expanded to 8 bits by Pillow, exactly."""
    with opened(path, io.BytesIO(data), ("PNG",)) as file:
        if "transparency" in file.info:
            raise LossError(f"{path}: has transparent pixels, which would be lost. Flatten it first.")
        palette = file.getpalette() if file.mode == "P" else None
        pixels = np.array(file.convert("L") if palette is None else file)
    if palette is None:
        return Picture(pixels, unit_chain(pixels.dtype), "png", 8, write_png, path)
    colours = np.array(palette, dtype=np.float64).reshape(-1, 3) / 255
    if int(pixels.max()) >= len(colours):
        raise InputError(
            f"{path}: the PNG is damaged (its palette has {len(colours)} colours, too few for its pixels)."
        )
    return Picture(pixels, Chain((Palette(colours),), 0, 255), "png", 8, write_png, path, {"palette": palette})


def split_alpha(path: Path, pixels: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Take an opaque alpha channel off, to be put back on writing; refuse one that says something."""
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels, {}
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 4):
        raise InputError(f"{path}: expected grey or RGB, got pixels of shape {pixels.shape}.")
    if pixels.shape[2] == 1:
        return pixels[..., 0], {}
    if (pixels[..., -1] != np.iinfo(pixels.dtype).max).any():
        raise LossError(f"{path}: has transparent pixels, which would be lost. Flatten it onto a background first.")
    opaque = pixels[..., :-1]
    return (opaque[..., 0] if opaque.shape[2] == 1 else np.ascontiguousarray(opaque)), {"alpha": True}


def write_png(picture: Picture, path: Path) -> None:
    """Write a PNG with nothing but pixels, in the depth of the picture."""
    if "palette" in picture.extra:
        from PIL import Image

        image = Image.fromarray(picture.pixels, "P")
        image.putpalette(picture.extra["palette"])
        image.save(path, "PNG")
        return
    path.write_bytes(encode_png(_with_alpha(picture)))


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG bytes of (H, W), (H, W, 3) or (H, W, 4) integers, of 8 or 16 bits; no chunk but header, pixels and end."""
    import imagecodecs

    return imagecodecs.png_encode(np.ascontiguousarray(pixels), level=6)


def _with_alpha(picture: Picture) -> np.ndarray:
    if not picture.extra.get("alpha"):
        return picture.pixels
    pixels = picture.pixels if picture.pixels.ndim == 3 else picture.pixels[..., None]
    opaque = np.full((*picture.size, 1), np.iinfo(pixels.dtype).max, dtype=pixels.dtype)
    return np.concatenate([pixels, opaque], axis=2)


def read_jpeg(path: Path, data: bytes, frame: int | None = None) -> Picture:
    """Read a JPEG, grey or RGB, turned upright as its EXIF says."""
    from PIL import ImageOps

    try:
        with opened(path, io.BytesIO(data), ("JPEG",)) as file:  # which opens MPO, too
            check_still(path, getattr(file, "n_frames", 1), frame, "is a JPEG")
            if file.mode not in ("L", "RGB"):
                raise InputError(f"{path}: is a {file.mode} JPEG. Convert it to RGB first.")
            pixels = np.array(ImageOps.exif_transpose(file))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: the JPEG is cut off or damaged ({error}).") from error
    lossy = "is a JPEG, which cannot keep changed pixels. Convert the file to PNG first."
    return Picture(pixels, unit_chain(pixels.dtype), "jpeg", 8, _copy, path, lossy=lossy)


def _copy(picture: Picture, path: Path) -> None:
    path.write_bytes(picture.source.read_bytes())


def read_tiff(path: Path, data: bytes, frame: int | None) -> Picture:
    """Read a page of a TIFF, 8 or 16 bits, grey or RGB."""
    import tifffile

    try:
        check_chain(path, data)
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = _page(path, file, frame)
            check_page(path, file, page)
            photometric = page.photometric.name
            pixels, tags = page.asarray(), _kept_tags(page)
            if page.planarconfig == 2 and pixels.ndim == 3:
                pixels = np.ascontiguousarray(np.moveaxis(pixels, 0, 2))
            turned = "Orientation" in page.tags and page.tags["Orientation"].value != 1
            frames = len(file.pages)
    except PrivmedError:
        raise
    except Exception as error:  # tags can be broken in any way
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: the TIFF is cut off or damaged ({reason}).") from error
    if turned:
        raise InputError(f"{path}: is stored turned or mirrored (tag Orientation). Turn its pixels upright first.")
    pixels, extra = split_alpha(path, pixels)
    chain = unit_chain(pixels.dtype)
    if photometric == "MINISWHITE":
        top = chain.high
        chain = Chain((type(chain.steps[0])(-1 / top, 1.0),), 0, top)
    lossy = f"is one of {frames} pages; the others would be lost. Split the file first." if frames > 1 else ""
    extra |= {"photometric": photometric.lower(), **tags}
    return Picture(pixels, chain, "tiff", 8 * pixels.dtype.itemsize, write_tiff, path, extra, lossy)


def _page(path: Path, file: Any, frame: int | None) -> Any:
    if not len(file.pages):
        raise InputError(f"{path}: the TIFF is cut off or damaged (it has no page).")
    if frame is None and len(file.pages) > 1:
        raise InputError(
            f"{path}: has {len(file.pages)} pages. Choose one with --frame (0 to {len(file.pages) - 1}), or split the file."
        )
    if not 0 <= (frame or 0) < len(file.pages):
        raise InputError(f"{path}: has no frame {frame}; there are 0 to {len(file.pages) - 1}.")
    return file.pages[frame or 0]


def _kept_tags(page: Any) -> dict[str, Any]:
    tags: dict[str, Any] = {}
    if "XResolution" in page.tags and "YResolution" in page.tags:
        tags["resolution"] = (page.tags["XResolution"].value, page.tags["YResolution"].value)
        tags["unit"] = page.tags["ResolutionUnit"].value if "ResolutionUnit" in page.tags else 2
    if page.description:
        tags["description"] = page.description
    return tags


def write_tiff(picture: Picture, path: Path) -> None:
    """Write a TIFF of one page with the photometric interpretation, resolution and description of the source."""
    import tifffile

    extra = picture.extra
    tifffile.imwrite(
        path,
        _with_alpha(picture),
        photometric=extra["photometric"],
        extrasamples=["unassalpha"] if extra.get("alpha") else None,
        resolution=extra.get("resolution"),
        resolutionunit=extra.get("unit"),
        description=extra["description"].encode() if "description" in extra else None,
        metadata=None,
        software=False,
    )
