"""How picklescan and fickling judge the files of `python -m tests.weights.payloads FOLDER`. No test: docs/weights.md.

Run by a Python that has both, and numpy: `python tests/weights/scanners.py FOLDER`. Prints how often each says what,
then the payloads that a scanner does not flag and the plain files that it does.
"""

import contextlib
import io
import logging
import sys
import zipfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import fickling
from picklescan import scanner


def picklescan_says(path: Path) -> str:
    """What its exit status is made of ('dangerous'), or what it only mentions."""
    try:
        result = scanner.scan_file_path(str(path))
    except Exception as error:
        return f'error: {type(error).__name__}'
    return 'dangerous' if result.issues_count else 'suspicious' if result.suspicious_count else 'clean'


def fickling_says(path: Path) -> str:
    """Of an archive, its worst entry; of any other file, its worst pickle."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            if zipfile.is_zipfile(path):
                results = list(fickling.scan_zip_archive(str(path), graceful=True).values())
            else:
                results = [fickling.scan_file(str(path), graceful=True)]
    except Exception as error:
        return f'error: {type(error).__name__}'
    worst = max((result.severity for result in results), default=None)
    return 'no pickle found' if worst is None else worst.name.lower()


SAYS = {'picklescan': picklescan_says, 'fickling': fickling_says}
FLAGGED = {
    'dangerous',
    'suspicious',
    'possibly_unsafe',
    'likely_unsafe',
    'likely_overtly_malicious',
    'overtly_malicious',
}


def flags(name: str, verdict: str) -> bool:
    return verdict in FLAGGED and (name, verdict) != ('picklescan', 'suspicious')


def main(folder: Path) -> None:
    logging.disable()
    for name, says in SAYS.items():
        print(name, version(name))
        for part in sorted(path for path in folder.iterdir() if path.is_dir()):
            said = {path.name: says(path) for path in sorted(part.iterdir())}
            odd = Counter(
                (file.rsplit('.', 2)[0] if part.name == 'expressions' else file, verdict)
                for file, verdict in said.items()
                if flags(name, verdict) == (part.name == 'plain')
            )
            print(f'  {part.name}: {len(said)} files,', dict(Counter(said.values())))
            print(*(f'    {file}: {verdict} ({count})' for (file, verdict), count in odd.items()), sep='\n')


if __name__ == '__main__':
    main(Path(sys.argv[1]))
