"""torchrun that ends with the exit code of the process which failed first.

    python -m train.torchrun --nproc-per-node 8 -m train fit --config FILE [key=value ...]

The arguments are torchrun's. It alone ends with 1 whatever has happened, so that who started it,
such as a Job's pod failure policy, cannot tell a wrong setting from a preemption.
"""

import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from train.__main__ import EXIT_FAILURE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run torchrun; its exit code is 0, that of a process, or 128 + the signal that ended it."""
    # While torchrun waits for other machines, SIGTERM ends it as it ends any program: a handler of
    # Python's would not be called before they have met.
    try:
        run(parse_args(arguments))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        print(error, file=sys.stderr)
        return _code_of(error)
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


def _code_of(error: ChildFailedError) -> int:
    failures = sorted(error.failures.values(), key=lambda failure: failure.timestamp)
    codes = [128 - each.exitcode if each.exitcode < 0 else each.exitcode for each in failures]
    # A process that ends because of another one may be faster than that one.
    return next((code for code in codes if code != EXIT_FAILURE), EXIT_FAILURE)


if __name__ == "__main__":
    sys.exit(main())
