"""What CTKAppLauncher does when it is PythonSlicer: python standin/launcher.py ARGUMENTS runs Python with these.

The process that is started is the parent of the one that computes; its pipes are that one's. A crash of the child
becomes a message and exit code 1 (Commontk/AppLauncher, ctkAppLauncher.cpp).
"""

import subprocess
import sys

code = subprocess.call([sys.executable, *sys.argv[1:]])
if code < 0:
    print(f"error: [{sys.executable}] exit abnormally - Report the problem.", file=sys.stderr)
sys.exit(1 if code < 0 else code)
