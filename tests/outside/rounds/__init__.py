"""Rounds of `kill -9`: load from real clients, a kill at a random time, a restart on the same data, and a judge that
knows only what the clients were told.

    tests/outside/run rounds --rounds 200 --seed 7 [--apart]

- `run` plays the rounds and, now and then, waits for quiet and has everything judged.
- `devices`, `pushers` and `listeners` are the clients. They never know of the kills: they lose their connection and
  come back, send what was not acknowledged again, and write down what they were told.
- `truth` holds what they wrote down, and says what contradicts the promises.

A seed repeats the plan (who sends what, when to kill whom), not the timing of the machine.
"""
