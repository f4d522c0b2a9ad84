"""`mmvssm test`, the door that users of OpenMMLab know: `python tools/test.py CONFIG CHECKPOINT [--data DIR]`."""

import sys

from mmvssm.commands import main

if __name__ == '__main__':
    main(['test', *sys.argv[1:]])
