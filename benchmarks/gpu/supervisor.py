"""Keeps a session going where a kernel takes its process down or hangs. Imports nothing heavy."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


def supervise(command: Sequence[str], file: Path, end: float, stall: float = 180.0) -> int:
    """Run `command` until it is done or time is up: again if it died, or kept no row for `stall` seconds."""
    while True:
        process = subprocess.Popen(command)
        begun = time.time()
        while process.poll() is None:
            time.sleep(0.2)
            kept = max(begun, file.stat().st_mtime if file.exists() else 0.0)
            if time.time() > end + 5 or time.time() - kept > stall:
                process.kill()
                process.wait()
        if process.returncode == 0 or time.time() > end:
            return process.returncode
        if not file.exists() or file.stat().st_mtime < begun:  # it did not come to a row: no other would
            return process.returncode
        print(f'the process ended with {process.returncode}; another goes on behind the row that it was at', flush=True)
