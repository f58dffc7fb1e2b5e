"""The tables of a data set (``split.csv``, ``groups.csv``, ``labels.csv``): what they say, and how they are published."""

from __future__ import annotations

import csv
import io
from pathlib import Path, PurePosixPath

from privmed.errors import InputError
from privmed.files import local_name, whole_file
from privmed.limits import check_file, read_bytes

TABLES = ("split.csv", "groups.csv", "labels.csv")
GROUPS = "groups.csv"
SAYS = {"split.csv": "split", "groups.csv": "group", "labels.csv": "label"}  # the column that counts


def read_table(path: Path, column: str) -> dict[str, str]:
    """What a table says of each file; empty when there is no table.

    Args:
        path: a table with the column ``file``.
        column: the other column that is wanted.

    Raises:
        InputError: when it cannot be read, names something outside the data set, or says two things of one file.
    """
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    try:
        check_file(path, "table_bytes")
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not {"file", column} <= set(rows.fieldnames or ()):
                raise InputError(f"{path}: must have the columns file and {column}, with a comma between.")
            for row in rows:
                name, value = local_name(row["file"], path), row[column] or ""
                if found.setdefault(name, value) != value:
                    raise InputError(f"{path}: says of {name} that its {column} is {found[name]!r}, and {value!r}.")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not text in UTF-8. Save it as such.") from error
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}).") from error
    return found


class Table:
    """A table of a data set, with a row an image: read before any work, and copied without the rows of what was left out.

    The name of the image is in the column ``file``, or in the first one if there is none of that name. Columns are parted by commas,
    semicolons or tabs; what is kept stays byte for byte, in whatever encoding.

    Args:
        path: the table.
        bare: it is published without other columns than its own two, and with numbers for groups, which may be called as patients are.

    Raises:
        InputError: when it cannot be read, its column ``file`` names something outside the data set, or it is to be bare and has no such
            columns.
    """

    def __init__(self, path: Path, *, bare: bool = False) -> None:
        self.path = path
        try:
            text = read_bytes(path, "table_bytes").decode("utf-8", "surrogateescape")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
        head = next(iter(io.StringIO(text, newline="")), "").lstrip("\ufeff")
        self.delimiter = max(",;\t", key=head.count)
        self.lines = self._rows(text)
        names = self._cells(self.lines[0].lstrip("\ufeff")) if self.lines else []
        self.column = names.index("file") if "file" in names else 0
        self.bare = self._bare(text.lstrip("\ufeff")) if bare else None
        if "file" in names:
            for line in self.lines[1:]:
                if name := self._name(line):
                    local_name(name, path)

    def _rows(self, text: str) -> list[str]:
        """The rows as they are, each with its end; a cell in quotes may hold line breaks."""
        lines = list(io.StringIO(text, newline=""))
        reader, rows, begun = csv.reader(lines, delimiter=self.delimiter), [], 0
        try:
            for _ in reader:
                rows.append("".join(lines[begun : reader.line_num]))
                begun = reader.line_num
        except csv.Error as error:
            raise InputError(f"{self.path}: cannot be read ({error}).") from error
        try:
            list(csv.reader(io.StringIO("".join(rows[-1:]), newline=""), delimiter=self.delimiter, strict=True))
        except csv.Error as error:
            if "end of data" in str(error):  # strict readers mind other things, too
                raise InputError(f"{self.path}: row {len(rows)} opens a quote that is never closed.") from error
        return rows

    def copy(self, target: Path, absent: set[str], work: Path) -> None:
        """Write it without the rows that name one of ``absent``; ``work`` is for the temporary file."""
        if self.bare is not None:
            rows = [row for n, row in enumerate(self.bare) if n == 0 or str(PurePosixPath(row[0])) not in absent]
            kept = [f"{self.delimiter.join(map(self._quoted, row))}\n" for row in rows]
        else:
            kept = [line for n, line in enumerate(self.lines) if n == 0 or self._name(line) not in absent]
        with whole_file(target, overwrite=True, work=work) as temporary:
            temporary.write_bytes("".join(kept).encode("utf-8", "surrogateescape"))

    def _bare(self, text: str) -> list[list[str]]:
        """Its rows with two cells each: the name of the file, and what the table says of it."""
        wanted = ["file", SAYS[self.path.name]]
        try:
            rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=self.delimiter))
        except csv.Error as error:
            raise InputError(f"{self.path}: cannot be read ({error}).") from error
        if not set(wanted) <= set(self._cells(self.lines[0].lstrip("\ufeff")) if self.lines else ()):
            raise InputError(
                f"{self.path}: must have the columns {wanted[0]} and {wanted[1]}, as nothing else of it is published with --deidentify."
            )
        pairs = [[(row[name] or "").strip() for name in wanted] for row in rows if (row["file"] or "").strip()]
        if self.path.name == GROUPS:
            numbers = {group: str(n) for n, group in enumerate(dict.fromkeys(group for _, group in pairs), 1)}
            pairs = [[name, numbers[group]] for name, group in pairs]
        return [wanted, *pairs]

    def _quoted(self, cell: str) -> str:
        special = any(c in cell for c in (self.delimiter, '"', "\n", "\r"))
        return '"' + cell.replace('"', '""') + '"' if special else cell

    def _name(self, line: str) -> str:
        cells = self._cells(line)
        name = cells[self.column].strip() if self.column < len(cells) else ""
        return name and str(PurePosixPath(name))

    def _cells(self, line: str) -> list[str]:
        try:
            return next(csv.reader(io.StringIO(line, newline=""), delimiter=self.delimiter), [])
        except csv.Error as error:
            raise InputError(f"{self.path}: cannot be read ({error}).") from error
