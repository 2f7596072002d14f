"""How attractive a launch is: the share of the shoppers shown it who will respond, with an 80 % interval.

Learnt from past launches, each counted once however many saw it. An estimator tells a mean and how far launches stray
from it (:mod:`worker.attractiveness.base`); ``race`` judges them on later launches than they have learnt from.
"""
