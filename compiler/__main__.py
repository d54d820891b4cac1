"""Where the `llmc` command starts: `python -m llmc` or the console script.

`llmc run` becomes the artifact's own native program before anything but `os` and `sys` is imported, so Python adds its bare
start-up time and nothing else on the way to the first token. Every other command goes to llmc.cli.
"""

import os
import sys


def main() -> int:
    """Runs the command in sys.argv and returns its exit code; does not return from `llmc run ARTIFACT ...`."""
    command, *rest = sys.argv[1:] or [""]
    if command == "run" and rest and not rest[0].startswith("-"):
        program = os.path.join(rest[0], "run")
        if os.access(program, os.X_OK):
            os.execv(program, [program, *rest[1:]])
    from llmc import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
