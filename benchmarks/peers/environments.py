"""An environment for each peer, so that no peer's libraries meet another's."""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path


def python_with(requirements: tuple[str, ...], folder: Path) -> Path:
    """The interpreter of an environment that has `requirements`; made once for each set of them.

    Without requirements it is this interpreter.

    Raises:
        SystemExit: they cannot be installed here.
    """
    if not requirements:
        return Path(sys.executable)
    digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:12]
    home = folder / digest
    python = home / "bin" / "python"
    done = home / "installed"
    if not done.exists():
        venv.create(home, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *requirements]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"could not install {', '.join(requirements)}")
        done.touch()
    return python
