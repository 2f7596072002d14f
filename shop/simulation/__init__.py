"""A simulated shop whose true effects are known: the demo's data, and the yardstick for what was learnt from it.

``world`` draws everything in numpy from one seed; ``build`` writes it through the app's public door, as a host
that imports its history would; ``truth`` says what the simulator itself expects of the next wave. Every figure
that comes from here is a simulation's, and says so where it is shown.
"""
