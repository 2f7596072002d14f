"""What workers say to people, as msgids: here, since the pages that word them are served where no worker is installed.

``tests/learning/test_sentences.py`` holds that the worker says nothing else. Parameters: ``rival`` is a version,
``rows`` a grouped number, ``said`` and ``problem`` are sentences themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.translation import gettext, gettext_noop

from personalization.models import Offer
from personalization.types import NO_OFFER as NO_KIND
from personalization.types import ModelTask

# --- What a model is: by its task, and its name there ---------------------------------------------------------------

_OF_SHOPPERS = {
    "base_rate": gettext_noop("the share of all shoppers who bought, the same for everybody"),
    "recency_frequency": gettext_noop("logistic regression on the time since the last order and the orders a day"),
    "offer_mean": gettext_noop("mean response of each offer (or its kind), nothing personal"),
    "logistic": gettext_noop("logistic regression on scaled features and one-hot categories"),
    "boosting": gettext_noop("gradient boosting (LightGBM) on the tabular features, three seeds averaged"),
    "dnn": gettext_noop("torch: embeddings and a multilayer perceptron"),
    "deepfm": gettext_noop("torch: a factorisation machine beside a multilayer perceptron, on the same embeddings"),
    "dcnv2": gettext_noop("torch: cross layers (DCN-V2) beside a multilayer perceptron"),
    "mmoe": gettext_noop("torch: cross layers (DCN-V2) beside experts that each outcome mixes by a gate of its own"),
    "four_part": gettext_noop("torch: LSTM over events → fusion → strategy → effect"),
    "blend": gettext_noop("boosting and the four-part network, logits averaged"),
}
NOTES: Mapping[str, Mapping[str, str]] = {
    ModelTask.RESPONSE: _OF_SHOPPERS,
    ModelTask.INTENT: _OF_SHOPPERS,
    ModelTask.STRATEGY: {
        "four_part": gettext_noop("which kind of offer brings the largest share of the expected value"),
    },
    ModelTask.ATTRACTIVENESS: {
        "shrunk_mean": gettext_noop(
            "mean rate of the offer's earlier launches, drawn towards its kind's and the overall mean"
        ),
        "linear": gettext_noop("beta-binomial regression on what is planned and on earlier launches"),
        "cnn": gettext_noop("1-D CNN along the launch's days, beta-binomial likelihood"),
    },
    ModelTask.PREFERENCE: {
        "popularity": gettext_noop("recent popularity, nothing personal"),
        "frequency": gettext_noop("personal frequency, popularity where there is none"),
        "content": gettext_noop("products like those turned to, by category, brand, price, words and looks"),
        "text": gettext_noop("titles alike, and which titles go together; scores what nobody has bought"),
        "transitions": gettext_noop("decayed item-to-item transitions from the latest items"),
        "item_knn": gettext_noop("items that the same shoppers turned to"),
        "user_knn": gettext_noop("what the shoppers most alike turned to"),
        "ease": gettext_noop("closed-form linear item-to-item model"),
        "explicit_als": gettext_noop("matrix factorisation of the strengths themselves, zeros included"),
        "als": gettext_noop("implicit matrix factorisation by alternating least squares"),
        "biased_mf": gettext_noop("the shopper's mean, an item's bias and factors"),
        "mult_vae": gettext_noop("torch: variational autoencoder, multinomial likelihood, annealed KL"),
        "rec_vae": gettext_noop("torch: autoencoder with composite prior and alternating updates"),
        "cfgan": gettext_noop("torch: generator of purchase vectors, trained against a discriminator"),
        "light_gcn": gettext_noop("torch: item vectors spread over the graph of shoppers and items"),
        "gat": gettext_noop("torch: attention over the graph of shoppers and items"),
        "gru": gettext_noop("torch: GRU over the items in order"),
        "lstm": gettext_noop("torch: LSTM over the items in order"),
        "cnn": gettext_noop("torch: dilated convolutions over the items in order"),
        "cnn_lstm": gettext_noop("torch: convolution, pool and LSTM over the items in order"),
        "transformer": gettext_noop("torch: causal attention over the items in order"),
        "hstu": gettext_noop("torch: pointwise attention over the items in order"),
        "stack": gettext_noop("the best few rankers' lists, fused by what a late slice showed"),
    },
}

# --- The effects that are predicted, and what a strategy is judged on ----------------------------------------------

EFFECTS: Mapping[str, str] = {
    "view": gettext_noop("view"),
    "click": gettext_noop("click"),
    "redeem": gettext_noop("redeem"),
    "purchase": gettext_noop("purchase"),
    "value": gettext_noop("the value that followed each kind of offer, and none"),
}
"""By their codes, as they are stored; a strategy's is ``VALUE``."""
VALUE = "value"


def note(task: str, estimator: str) -> str:
    """Return what a model is, in the reader's language; empty for one that this release does not know."""
    found = NOTES.get(task, {}).get(estimator, "")
    return gettext(found) if found else ""


def kinds_of_offers() -> dict[str, str]:
    """Return the names of the kinds of offer, and of none, by their codes, in the reader's language."""
    return {code: str(name) for code, name in Offer.KINDS} | {NO_KIND: gettext("No offer")}


def effect(code: str) -> str:
    """Return the name of what a model was judged on, in the reader's language; an unknown code as it is."""
    return gettext(EFFECTS[code]) if code in EFFECTS else code


# --- The gate's checks ------------------------------------------------------------------------------------------------

DISTINCT = gettext_noop("Its predictions differ by up to %(spread).3g.")
CONSTANT = gettext_noop("It predicts the same for everybody.")
BETTER = gettext_noop(
    "Better than %(rival)s on the same %(rows)s rows: log-loss gain %(gain).4f, 95 %% interval %(low).4f to %(high).4f."
)
NOT_BETTER = gettext_noop(
    "Not shown to be better than %(rival)s on the same %(rows)s rows: log-loss gain %(gain).4f, 95 %% interval "
    "%(low).4f to %(high).4f."
)
SIMPLEST = gettext_noop("Not judged: there is nothing simpler.")
NOBODY = gettext_noop("Nobody reigns yet.")
SAME_SHARES = gettext_noop("the same shares for everybody")
BETTER_SHARES = gettext_noop(
    "Better than %(rival)s on the same %(rows)s rows: gain in weighted log-loss %(gain).4f, 95 %% interval %(low).4f "
    "to %(high).4f."
)
NOT_BETTER_SHARES = gettext_noop(
    "Not shown to be better than %(rival)s on the same %(rows)s rows: gain in weighted log-loss %(gain).4f, 95 %% "
    "interval %(low).4f to %(high).4f."
)
FEW_WORTH = gettext_noop(
    "Not compared with %(rival)s: value followed only %(rows)s of the rows that are new to both; %(needed)d, on more "
    "than one kind, are needed."
)
LOST = gettext_noop("%(rival)s cannot be asked any more: %(problem)s")
NO_ESTIMATOR = gettext_noop("there is no estimator %(name)s here")
SAME_ROWS = gettext_noop(
    "%(rival)s has learnt from these rows: only %(rows)s of them are new to it, %(needed)s of both outcomes are needed."
)
RENEWED = gettext_noop("%(rival)s itself, fitted anew.")
BETTER_RANKS = gettext_noop(
    "Better than %(rival)s for the same %(rows)s shoppers: NDCG@10 gain %(gain).4f, 95 %% interval %(low).4f to "
    "%(high).4f."
)
NOT_BETTER_RANKS = gettext_noop(
    "Not shown to be better than %(rival)s for the same %(rows)s shoppers: NDCG@10 gain %(gain).4f, 95 %% interval "
    "%(low).4f to %(high).4f."
)
BETTER_LAUNCHES = gettext_noop(
    "Better than %(rival)s on the same %(rows)s launches: log-score gain %(gain).3f a launch, 95 %% interval %(low).3f "
    "to %(high).3f."
)
NOT_BETTER_LAUNCHES = gettext_noop(
    "Not shown to be better than %(rival)s on the same %(rows)s launches: log-score gain %(gain).3f a launch, 95 %% "
    "interval %(low).3f to %(high).3f."
)
INTERVALS_HELD = gettext_noop(
    "%(held)s of %(rows)s intervals of 80 %% held what happened; at least %(needed)s are asked."
)
CALIBRATED = gettext_noop("Calibration error %(error).3f; %(allowed).3f is allowed.")
CALIBRATION_OPEN = gettext_noop("Calibration error %(error).3f; there is nothing simpler to keep instead.")
SPEED = gettext_noop("%(seconds).3f seconds per 1,000 rows; %(allowed)g are allowed.")
SPEED_RANKS = gettext_noop("%(seconds).2f seconds per 1,000 shoppers; %(allowed)g are allowed.")
SIZE = gettext_noop("%(size).2f MB; %(allowed)d are allowed.")
HELD = gettext_noop("Rolled back at %(at)s: nothing is promoted by itself until %(until)s.")
FREE = gettext_noop("Nothing was rolled back lately.")

# --- Why an estimator won its race, or did not ------------------------------------------------------------------------

REASON = gettext_noop("%(estimator)s: %(said)s")
REFUSED = gettext_noop("%(estimator)s: refused. %(said)s")
NOTHING_SHIPS = gettext_noop("%(estimator)s: refused too. %(said)s No model ships.")
NOT_PROMOTED = gettext_noop("%(estimator)s: not promoted, %(rival)s stays. %(said)s")
NOT_PROMOTED_FIRST = gettext_noop("%(estimator)s: not promoted, no model ships. %(said)s")
OUT_OF_TIME = gettext_noop(
    "%(ranker)s: left out, the line-up’s %(seconds)d seconds were used up. Race it with "
    "`manage.py train --rankers %(ranker)s %(best)s`."
)

# --- What a job is doing ---------------------------------------------------------------------------------------------

READING = gettext_noop("reading")
READING_SHOPPERS = gettext_noop("reading shoppers")
READING_EXPOSURES = gettext_noop("reading exposures")
READING_EVENTS = gettext_noop("reading events")
READING_REVIEWS = gettext_noop("reading reviews")
READING_MANY_EVENTS = gettext_noop("reading events: %(rows)s")
READING_MANY_ORDERS = gettext_noop("reading orders: %(rows)s")
TRAINING = gettext_noop("training %(estimator)s")
FITTING = gettext_noop("fitting %(estimator)s on all data")
INTENT_WITH = gettext_noop("purchase intent with %(estimator)s")
ATTRACTIVENESS_WITH = gettext_noop("attractiveness with %(estimator)s")
RANKING = gettext_noop("ranking with %(ranker)s")
RANKING_REIGNING = gettext_noop("ranking with %(ranker)s, which reigns")
TRIAL = gettext_noop("trial %(number)d of %(estimator)s")
TRIAL_BEST = gettext_noop("trial %(number)d of %(estimator)s, best %(figure).5f (trial %(best)d)")
JUDGING = gettext_noop("judging")
PREDICTING = gettext_noop("predicting")
PREDICTING_WITH = gettext_noop("predicting with %(version)s")
SCORING = gettext_noop("scoring")
PUBLISHING = gettext_noop("publishing")

# --- What a training came to ------------------------------------------------------------------------------------------

SHIPS = gettext_noop("%(estimator)s ships")
SHIPS_UNCOMPARED = gettext_noop("%(estimator)s ships, compared with nothing yet")
STAYS = gettext_noop("%(rival)s stays")
NO_MODEL = gettext_noop("no model ships")
OVERTAKEN = gettext_noop(
    "%(estimator)s: not promoted after all, %(rival)s stays: somebody rolled back or promoted another while this "
    "training ran."
)
RESPONSE = gettext_noop("Response, judged on %(head)s: %(outcome)s.")
STRATEGY = gettext_noop("Strategy: %(outcome)s.")
PREFERENCE = gettext_noop("Preference, %(tested)s shoppers tested: %(outcome)s.")
INTENT = gettext_noop("Purchase intent within %(days)d days, %(tested)s shoppers tested: %(outcome)s.")
NO_RESPONSE = gettext_noop("No response models: %(said)s")
NO_PREFERENCE = gettext_noop("No preference rankers: %(said)s")
NO_INTENT = gettext_noop("No purchase intent: %(said)s")
ATTRACTIVENESS = gettext_noop("Attractiveness, %(launches)s launches, %(tested)s tested: %(outcome)s.")
NO_ATTRACTIVENESS = gettext_noop("No attractiveness of campaigns: %(said)s")

# --- What a forecast assumes ------------------------------------------------------------------------------------------

ANY_OFFER = gettext_noop("uniformly among the eligible")
ONE_OFFER = gettext_noop("the one offer")
SIMULATED = gettext_noop("simulated")

# --- Why there is nothing to train, score or judge --------------------------------------------------------------------

NO_POPULATION = gettext_noop("There are no shoppers in the population %(population)s. Known: %(known)s.")
NO_EVENTS = gettext_noop("There are no events in the population %(population)s.")
FEW_EXPOSURES = gettext_noop("%(have)s of %(need)s exposures whose outcome is known.")
ONE_CLASS = gettext_noop(
    "The outcome %(head)s needs both classes: %(positives)s positives and %(negatives)s negatives, at least %(need)d "
    "of each."
)
NO_OUTCOME = gettext_noop("No exposure has any recorded outcome yet.")
SHORT_PAST = gettext_noop(
    "The exposures do not reach back far enough for a test in time: at least two earlier moments, with 1,000 exposures "
    "that had matured before the test began, are needed."
)
SHORT_LOG = gettext_noop(
    "The log spans %(have).0f of %(need)d days: %(history)d of history, then %(moments)d times the %(days)d days that "
    "purchase intent looks ahead (INTENT_DAYS)."
)
FEW_LEARNT = gettext_noop(
    "%(positives)s of %(samples)s samples to learn from have a purchase: at least %(need)d with one and %(need)d "
    "without are needed."
)
FEW_TESTED = gettext_noop(
    "%(positives)s of %(samples)s samples to test on have a purchase: at least %(need)d with one and %(need)d without "
    "are needed."
)
FEW_IN_BLOCKS = gettext_noop(
    "Too few shoppers with a history bought anything in the blocks that settings are tried on."
)
NO_RESPONSE_YET = gettext_noop("Nobody has responded to any of the %(have)d launches yet.")
ALL_ALIKE = gettext_noop("Everybody responded to all of the %(have)d launches: nothing tells them apart.")
FEW_LAUNCHES = gettext_noop(
    "Not enough launches yet (%(have)d of %(need)d): %(tested)d must have begun after the outcomes of %(taught)d "
    "others were known; %(begun)d have."
)
FEW_LINES = gettext_noop("%(have)s of %(need)s order lines with known products.")
FEW_BUYERS = gettext_noop("Too few shoppers with a history bought anything lately to test a ranker on.")
UNTRAINED = gettext_noop("Nothing has been trained yet. Run `manage.py train` first.")
NO_RESPONSE_MODEL = gettext_noop("No response model has been trained yet. Run `manage.py train` first.")
NOBODY_IN_SHADOW = gettext_noop("Nobody reigns and nobody is in shadow. Run `manage.py train` first.")
ALL_REFUSED = gettext_noop("Trained, but no model has passed the gate: the board says why (`manage.py board`).")
RESPONSE_REFUSED = gettext_noop(
    "Trained, but no response model has passed the gate: the board says why (`manage.py board`)."
)
REFUSED_AND_NO_SHADOW = gettext_noop(
    "Trained, but no response model has passed the gate, and none is in shadow: the board says why (`manage.py "
    "board`), `manage.py shadow --begin VERSION` puts one in shadow."
)
CAMPAIGN_GONE = gettext_noop("This campaign no longer exists.")
CAMPAIGN_OVER = gettext_noop(
    "This campaign is over: there is nothing left to forecast. Its page shows what happened, beside the forecast that "
    "was frozen at its launch."
)
NO_OFFER = gettext_noop("The campaign has no offer yet. Add one, then compute the forecast.")
NO_AUDIENCE = gettext_noop("The audience is empty: nobody with consent matches it.")
NO_HANDLER = gettext_noop("Nobody does jobs of this kind here.")
UNEXPECTED = gettext_noop("Unexpected: %(error)s. The worker’s log has the details.")
DIED = gettext_noop("The worker died three times at this job. Look at its log, then retry it.")

# --- Searches for settings --------------------------------------------------------------------------------------------

NO_SETTINGS = gettext_noop("%(estimator)s has no settings to search for.")
SEARCHED = gettext_noop("%(estimator)s: set as search %(search)d has found.")
OUTDATED = gettext_noop(
    "%(estimator)s: the settings that search %(search)d has found are not taken (%(why)s). It trains as shipped: "
    "search again, or withdraw them with `manage.py tune --withdraw %(search)d`."
)
TRIAL_OUTDATED = gettext_noop(
    "The best trial of search %(search)d cannot be judged (%(why)s). Begin a new one with "
    "`manage.py tune %(estimator)s --anew`."
)

# --- Why a model’s file cannot be used --------------------------------------------------------------------------------

UNREADABLE = gettext_noop("The model file %(path)s cannot be read (%(error)s). Train again, or restore the file.")
EARLIER_LAUNCHES = gettext_noop("%(version)s was trained on an earlier description of launches. Train again.")
EARLIER_FEATURES = gettext_noop("%(version)s was trained on an earlier set of features. Train again.")
EARLIER_SETTINGS = gettext_noop(
    "%(version)s was trained with settings that are not taken any more (%(why)s). Train again."
)
UNKNOWN_SORT = gettext_noop("%(version)s is of a sort that is not known here any more. Train again.")
