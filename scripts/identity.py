"""Print the path and version of the interpreter that runs this; exit 1 if it is older than Python 3.11."""

import os
import sys

if sys.version_info < (3, 11):
    sys.exit(1)
# the interpreter itself, also when "python" is that of a virtual environment
print(os.path.realpath(sys._base_executable), ".".join(map(str, sys.version_info[:3])))
