"""The pages of Corner Books; the last line is what docs/install.md adds."""

from django.contrib import admin
from django.urls import include, path

from corner import views

urlpatterns = [
    path("", views.front_page, name="front_page"),
    path("books/<str:isbn>/", views.book_page, name="book"),
    path("bag/", views.bag, name="bag"),
    path("bag/add/", views.add_to_bag, name="add_to_bag"),
    path("bag/buy/", views.buy, name="buy"),
    path("admin/", admin.site.urls),
]

urlpatterns += [path("personalization/", include("personalization.urls"))]
