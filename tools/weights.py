"""`mmvssm weights`, for those who look for it here: `python tools/weights.py --help`."""

import sys

from mmvssm.commands import main

if __name__ == '__main__':
    main(['weights', *sys.argv[1:]])
