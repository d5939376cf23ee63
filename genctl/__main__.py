"""`python -m genctl`, which is also how torchrun starts a rank."""

import os
import sys

# Python puts the working folder first on its path; a torch.py that lies there must not be imported (nor does -P).
if not sys.flags.safe_path and os.path.realpath(sys.path[0] or ".") != os.path.dirname(os.path.dirname(os.path.realpath(__file__))):
    del sys.path[0]

from genctl.cli import main

if __name__ == "__main__":
    main()
