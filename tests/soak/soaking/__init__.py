# The parts of tests/soak/run: a server of one's own, disks to move, clients good and bad, and the judge.
