"""Does over HTTP what the shop's owner does in the admin, in a process of its own: start and cancel jobs.

``python -m tests.integration.owner start train`` prints the job's id; ``… cancel 7`` cancels it.
"""

from __future__ import annotations

import sys

import django


def main(verb: str, subject: str) -> None:
    django.setup()
    from django.contrib.auth import get_user_model
    from django.test import Client

    from personalization.models import Job

    client = Client(headers={"host": "localhost"})
    client.force_login(get_user_model()._default_manager.filter(is_superuser=True)[0])
    address = {
        "start": f"/admin/personalization/job/start/{subject}/",
        "cancel": f"/admin/personalization/job/{subject}/cancel/",
    }[verb]
    answer = client.post(address, follow=True)
    assert answer.status_code == 200, answer.content[:2000]
    if verb == "start":
        print(Job.objects.latest("pk").pk)


if __name__ == "__main__":
    main(*sys.argv[1:])
