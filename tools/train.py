"""`mmvssm train`, the door that users of OpenMMLab know: `python tools/train.py CONFIG [--data DIR]`."""

import sys

from mmvssm.commands import main

if __name__ == '__main__':
    main(['train', *sys.argv[1:]])
