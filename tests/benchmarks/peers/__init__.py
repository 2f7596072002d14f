"""Our rankers and the public peers' own implementations, on one split, by one metric code, in one run.

Flow: ``splits`` (what is learnt from, tuned on, tested on) → ``contestants`` (ours, ``of_implicit``, ``of_recbole``) →
``race`` (a row a fitted model, appended to a file; what is there already is not fitted again) → ``board`` → ``pooled``
(what several seeds say together).

The peers are no dependency of this project. Install them beside it, without letting them replace torch or numpy:

    pip install --target PEERS --no-deps implicit==0.7.3 recbole==1.2.1 tqdm "pandas<3" python-dateutil pytz tzdata \
        colorlog colorama pyyaml tabulate texttable thop psutil tensorboard "protobuf<7" absl-py grpcio \
        markdown werkzeug
    PYTHONPATH=PEERS python -m tests.benchmarks.peers amazon_games

Whoever is not installed is told as such, and the others race.
"""
