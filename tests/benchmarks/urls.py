"""What a measured web server answers: the app at its own addresses, and the peers beside it."""

from django.urls import include, path

from tests.benchmarks import decide, pageview, plain_events

urlpatterns = [
    path("personalization/", include("personalization.urls")),
    path("peer/events/", plain_events.PlainEventsView.as_view()),
    path("peer/offers/", decide.PlainOffersView.as_view()),
    path("page/tracked/", pageview.tracked),
    path("page/untracked/", pageview.untracked),
    path("", include("shop.pages")),
]
