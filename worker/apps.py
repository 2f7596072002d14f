"""App configuration of the worker: it only adds commands and Celery tasks."""

from django.apps import AppConfig


class WorkerConfig(AppConfig):
    name = "worker"
