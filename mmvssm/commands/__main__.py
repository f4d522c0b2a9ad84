"""`python -m mmvssm.commands`, where the console command is not on the path."""

from mmvssm.commands import main

main()
