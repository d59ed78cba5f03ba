"""A partition under load: two domains whose link is slow, half dead, cut and at last gone, while devices of the one upload to
an application of the other, which pushes to them. Then it heals, and everything must add up.

    tests/outside/run partition [--seconds 600] [--seed 7]

Both domains are killed once while they are parted. What was acknowledged has arrived once and in order, every push has one end that
both sides agree on, and the ledgers of both sides have no residue. A failure names its seed.
"""
